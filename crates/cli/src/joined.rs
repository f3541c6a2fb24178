//! Several requests at once, with answers in the order of the questions.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// How many requests are under way at once.
const PARALLEL: usize = 50;

/// Runs every future, a limited number at a time, and returns what they return, in order.
pub(crate) async fn joined<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting = futures.into_iter().enumerate();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut done: Vec<(usize, F::Output)> = Vec::new();
    std::future::poll_fn(|context| {
        loop {
            while running.len() < PARALLEL
                && let Some((index, future)) = waiting.next()
            {
                running.push((index, Box::pin(future)));
            }
            let before = done.len();
            let mut at = 0;
            while at < running.len() {
                let (index, future) = &mut running[at];
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    done.push((*index, output));
                    running.swap_remove(at);
                } else {
                    at += 1;
                }
            }
            if running.is_empty() && done.len() == before {
                return Poll::Ready(());
            }
            if done.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_the_order_of_the_questions() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("can build");
        let answers = runtime.block_on(joined((0..120_u64).map(|number| async move {
            tokio::time::sleep(std::time::Duration::from_millis((120 - number) % 7)).await;
            number
        })));
        assert_eq!(answers, (0..120).collect::<Vec<_>>());
    }
}
