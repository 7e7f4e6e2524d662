//! IAMAT lines of many clients, each newer than the last. Apart because several benches need them
//! at next to no cost: a line is a copy with a few digits changed.

const TEMPLATE: &[u8] =
    b"IAMAT client-000000.example.org +34.068930-118.445127 1520023934.000000000\n";
const ID_AT: usize = 13;
const ID_DIGITS: usize = 6;
const NANOS_AT: usize = 65;
const NANOS_DIGITS: usize = 9;
/// Coprime to every round number, as are the strides of later rounds: clients speak in an order
/// without locality, and in another one each time, so that neither the caches nor the prefetcher
/// know who is next, also where clients are kept in the order in which they came.
const STRIDE: u64 = 618_033;
const STRIDE_MORE: u64 = 10_030;

pub struct Chatter {
    clients: u64,
    said: u64,
}

impl Chatter {
    pub fn new(clients: u64) -> Chatter {
        Chatter { clients, said: 0 }
    }

    pub fn write_lines(&mut self, lines: usize, out: &mut Vec<u8>) {
        for _ in 0..lines {
            let start = out.len();
            out.extend_from_slice(TEMPLATE);
            let line = &mut out[start..];
            let (round, place) = (self.said / self.clients, self.said % self.clients);
            let client = place * (STRIDE + STRIDE_MORE * round) % self.clients;
            spell(client, &mut line[ID_AT..][..ID_DIGITS]);
            spell(self.said, &mut line[NANOS_AT..][..NANOS_DIGITS]);
            self.said += 1;
        }
    }
}

fn spell(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
