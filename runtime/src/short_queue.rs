//! A queue that nearly always holds at most one element. Only a second one allocates.
//!
//! A `SmallVec` moves all others when its first element is taken; a guest may write thousands before anybody reads.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub struct ShortQueue<T> {
    first: Option<T>,
    /// Empty while there is no first.
    rest: VecDeque<T>,
}

impl<T> Default for ShortQueue<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

impl<T> ShortQueue<T> {
    /// Adds `element` behind the others.
    pub fn push(&mut self, element: T) {
        match self.first {
            None => self.first = Some(element),
            Some(_) => self.rest.push_back(element),
        }
    }

    /// Takes the first element.
    pub fn pop(&mut self) -> Option<T> {
        let first = self.first.take();
        if !self.rest.is_empty() {
            self.first = self.rest.pop_front();
        }
        first
    }

    /// How many elements it holds.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Its elements, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec(proptest::option::of(any::<u8>()), 0..60)) {
            let (mut queue, mut model) = (ShortQueue::default(), VecDeque::new());
            for step in steps {
                match step {
                    Some(element) => {
                        queue.push(element);
                        model.push_back(element);
                    }
                    None => prop_assert_eq!(queue.pop(), model.pop_front()),
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(queue.iter().eq(&model));
            }
        }
    }
}
