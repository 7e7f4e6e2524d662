//! Reports of which nothing may be left where they lay. Apart from the rest of the store because
//! only what is erased is wiped: what expires or is replaced is overwritten when its place is
//! needed.

use super::{Held, Store};

impl Store {
    /// Takes out the report of a client, and leaves nothing of it where it was.
    pub(crate) fn wipe(&mut self, client: &[u8]) {
        let key = self.key(client);
        let Some((slot, Held { at, record })) = self.search(key, client) else { return };
        let hash = record.hash;
        self.change(key.leaf, |bucket| bucket.remove(slot));
        self.digest.toggle(key.leaf, hash);
        self.clients -= 1;
        let moved = self.arena.wipe(at);
        self.follow(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::HashKeys;
    use crate::wire::Report;

    /// Goal: of a client that is wiped nothing is left in the arena, whichever of its size it was,
    /// and all others are as before.
    #[test]
    fn nothing_is_left_of_whom_is_wiped() {
        for wiped in 0..5 {
            let mut store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
            for client in 0..5 {
                let line = format!("AT A +0 client-{client} +1.5{client}5{client}5-1.5 7");
                assert!(store.put(&Report::of_line(line.as_bytes()).unwrap()).is_news());
            }
            let position = format!("+1.5{wiped}5{wiped}5");
            let is_left = |store: &Store| store.arena.has(position.as_bytes());
            assert!(is_left(&store));
            store.wipe(format!("client-{wiped}").as_bytes());
            assert!(!is_left(&store));
            store.check_invariants();
            assert_eq!(store.len(), 4);
            store.wipe(b"nobody");
            assert_eq!(store.len(), 4);
        }
    }
}
