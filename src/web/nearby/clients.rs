//! Clients by their hashes, and where they are: the numbers that the grid wants are given here. A
//! client costs it eight bytes and its place in a table; its name stays in the store.

use herd_core::store::client_hash::ClientHash;

use super::table::Table;
use super::{Grid, Point};

/// Where every client is that has a position on the globe.
pub struct Clients {
    grid: Grid,
    table: Table,
    /// By number; of those that are free, anything.
    hashes: Vec<u64>,
    free: Vec<u32>,
}

impl Clients {
    /// Nobody is anywhere. The numbers are secret.
    pub fn new(secret: (u64, u64)) -> Clients {
        let (grid, table) = (Grid::new(secret), Table::new());
        Clients { grid, table, hashes: Vec::new(), free: Vec::new() }
    }

    /// A client is there now, or is nowhere on the globe.
    pub fn put(&mut self, client: ClientHash, at: Option<Point>) {
        let Some(at) = at else { return self.remove(client) };
        let who = self.find(client).unwrap_or_else(|| self.add(client));
        self.grid.put(who, at);
    }

    pub fn remove(&mut self, client: ClientHash) {
        let Some(who) = self.find(client) else { return };
        let hashes = &self.hashes;
        self.table.remove(client.0, who + 1, |link| hashes[link as usize - 1]);
        self.grid.remove(who);
        self.free.push(who);
    }

    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The client of a number that the grid has given.
    pub fn hash(&self, who: u32) -> ClientHash {
        ClientHash(self.hashes[who as usize])
    }

    /// Memory that all of it takes.
    pub fn bytes(&self) -> usize {
        let free = self.free.capacity() * size_of::<u32>();
        self.grid.bytes() + self.table.bytes() + self.hashes.capacity() * size_of::<u64>() + free
    }

    fn find(&self, client: ClientHash) -> Option<u32> {
        let is_meant = |link: u32| self.hashes[link as usize - 1] == client.0;
        self.table.find(client.0, is_meant).map(|link| link - 1)
    }

    fn add(&mut self, client: ClientHash) -> u32 {
        let who = self.free.pop().unwrap_or(self.hashes.len() as u32);
        if who as usize == self.hashes.len() {
            if self.hashes.len() == self.hashes.capacity() {
                self.hashes.reserve_exact(self.hashes.len() / 8 + 64);
            }
            self.hashes.push(client.0);
        }
        self.hashes[who as usize] = client.0;
        let hashes = &self.hashes;
        self.table.add(client.0, who + 1, |link| hashes[link as usize - 1]);
        who
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: after clients have come, moved and gone, each is where it was put last, under its own
    /// hash; a client costs at most what the design says.
    #[test]
    fn clients_come_and_go() {
        let mut clients = Clients::new((1, 2));
        let fixed = clients.bytes();
        let mut random = fastrand::Rng::with_seed(1);
        let hashes = Vec::from_iter((0..100_000).map(|_| ClientHash(random.u64(..))));
        let place = |n: usize| Point::new(60.0 + (n % 40) as f64 / 1e3, n as f64 / 1e6);
        for (n, &hash) in hashes.iter().enumerate() {
            clients.put(hash, place(n));
        }
        let each = (clients.bytes() - fixed) as f64 / hashes.len() as f64;
        assert!(each < 40.0, "{each} bytes a client");
        for round in 1..4 {
            hashes.iter().step_by(3).for_each(|&hash| clients.remove(hash));
            let put = |(n, &hash): (usize, &ClientHash)| clients.put(hash, place(n + round));
            hashes.iter().enumerate().for_each(put);
        }
        clients.put(hashes[7], None);
        assert_eq!((clients.grid.len(), clients.hashes.len()), (99_999, 100_000));
        assert_eq!(clients.find(hashes[7]), None);
        for (n, &hash) in hashes.iter().enumerate().skip(8) {
            let who = clients.find(hash).unwrap();
            assert_eq!((clients.hash(who), clients.grid.find(who)), (hash, place(n + 3)));
        }
    }
}
