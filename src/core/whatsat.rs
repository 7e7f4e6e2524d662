//! Questions about places.

/// A point on the globe, in decimal degrees.
///
/// Bounds: latitude in [-90, 90], longitude in [-180, 180]; both are finite. `core::wire` is what
/// makes one from text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub latitude: f64,
    pub longitude: f64,
}

/// What a WHATSAT wants to know of a source of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Where the client was when the WHATSAT was read.
    pub at: Position,
    /// Radius in kilometres, in [0, 50]. Google's services want metres.
    pub radius_km: f64,
    /// How many results the client wants at most, in [0, 20].
    pub bound: u8,
}
