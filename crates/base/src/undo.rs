//! Undoes finished steps, last first, unless the whole succeeded.

/// A stack of clean-up steps that runs on drop, unless [`Undo::disarm`] was called.
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<Box<dyn FnOnce() + Send + 'a>>,
}

impl<'a> Undo<'a> {
    /// An empty stack.
    pub fn new() -> Self {
        Self { steps: Vec::new() }
    }
    /// Adds a step that takes back what was just done.
    pub fn push(&mut self, step: impl FnOnce() + Send + 'a) {
        self.steps.push(Box::new(step));
    }
    /// The whole succeeded: forget every step.
    pub fn disarm(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn runs_backwards_unless_disarmed() {
        let seen = Mutex::new(Vec::new());
        {
            let mut undo = Undo::new();
            undo.push(|| seen.lock().expect("not poisoned").push(1));
            undo.push(|| seen.lock().expect("not poisoned").push(2));
        }
        let mut undo = Undo::new();
        undo.push(|| seen.lock().expect("not poisoned").push(3));
        undo.disarm();
        assert_eq!(*seen.lock().expect("not poisoned"), [2, 1]);
    }
}
