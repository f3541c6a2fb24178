//! The tags of a repository, page by page.

use super::Repository;
use super::failure::Failure;
use super::request::{Ask, read_up_to};
use gantry_base::Result;
use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;

const PAGE_BYTES_MAX: usize = 8 << 20;
const PAGES_MAX: usize = 1000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order.
    ///
    /// # Errors
    /// In Docker's words, when the repository is not there.
    pub async fn tags(&self, familiar_name: &str) -> Result<Vec<String>> {
        let found = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let mut tags = Vec::new();
                let mut url = endpoint.url(&format!("{}/tags/list", self.path))?;
                for _ in 0..PAGES_MAX {
                    let ask = Ask::new(Method::GET, url.clone());
                    let mut response = self.send_patiently(endpoint, &ask).await?;
                    let link = response
                        .headers()
                        .get(LINK)
                        .and_then(|link| link.to_str().ok());
                    let next = link.and_then(next_page).map(str::to_owned);
                    let body =
                        read_up_to(self.client.patience(), &mut response, PAGE_BYTES_MAX).await?;
                    let page: Page = serde_json::from_slice(&body)
                        .map_err(|error| Failure::refused(error.to_string()))?;
                    let valid = |tag: &String| gantry_oci::reference::tag_is_valid(tag);
                    tags.extend(page.tags.unwrap_or_default().into_iter().filter(valid));
                    let Some(next) = next else { return Ok(tags) };
                    // Only the query may change: the rest of the list is on the same host.
                    let next = url
                        .join(&next)
                        .map_err(|_| Failure::refused("a page is no URL"))?;
                    url.set_query(next.query());
                }
                Err(Failure::refused("the list of tags does not end"))
            })
            .await;
        found.map_err(|failure| failure.into_pull_error(familiar_name, familiar_name))
    }
}

/// The target of `<…>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    link.split(',')
        .find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))
        .and_then(|link| link.trim().strip_prefix('<')?.split('>').next())
}

#[cfg(test)]
mod tests {
    #[test]
    fn pages_are_linked() {
        let link = r#"</v2/a/tags/list?last=b&n=2>; rel="next""#;
        assert_eq!(super::next_page(link), Some("/v2/a/tags/list?last=b&n=2"));
        assert_eq!(super::next_page(r#"</x>; rel="prev""#), None);
    }
}
