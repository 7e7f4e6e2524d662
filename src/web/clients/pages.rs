//! A long list in pages: when it grows, nothing is copied, and at most a page of it is empty.

/// Items of a page.
const PAGE: usize = 1_024;

pub struct Pages<T> {
    pages: Vec<Box<[T]>>,
    len: usize,
}

impl<T: Copy> Pages<T> {
    pub fn new() -> Pages<T> {
        Pages { pages: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.pages.len() * size_of::<[T; PAGE]>() + self.pages.capacity() * size_of::<Box<[T]>>()
    }

    pub fn push(&mut self, item: T) {
        if self.len == self.pages.len() * PAGE {
            self.pages.push(vec![item; PAGE].into());
        }
        self.len += 1;
        *self.at_mut(self.len as u32 - 1) = item;
    }

    /// What stands there; there must be something.
    pub fn at(&self, at: u32) -> T {
        self.pages[at as usize / PAGE][at as usize % PAGE]
    }

    pub fn at_mut(&mut self, at: u32) -> &mut T {
        &mut self.pages[at as usize / PAGE][at as usize % PAGE]
    }
}
