//! A city for the clients of `herd demo`: some ways of Helsinki, drawn by hand, good to about fifty
//! metres.

/// What goes along a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Walker,
    Bike,
    Tram,
    Car,
    Ferry,
}

/// A way that is gone there and back.
#[derive(Debug)]
pub struct Way {
    /// What goes along it, one after the other.
    pub kinds: &'static [Kind],
    /// Latitude and longitude, in degrees.
    pub points: &'static [(f64, f64)],
}

const STREET: &[Kind] = &[Kind::Tram, Kind::Walker, Kind::Bike, Kind::Walker, Kind::Car];
const PATH: &[Kind] = &[Kind::Walker, Kind::Bike, Kind::Walker];
const ROAD: &[Kind] = &[Kind::Car, Kind::Bike];

/// The last one first: of few clients, one is a ferry.
pub const WAYS: &[Way] = &[
    // Mannerheimintie, from the department store to the tram depot of Ruskeasuo.
    Way {
        kinds: STREET,
        points: &[
            (60.1666, 24.9436),
            (60.1686, 24.9412),
            (60.1705, 24.9378),
            (60.1722, 24.9357),
            (60.1750, 24.9326),
            (60.1782, 24.9308),
            (60.1817, 24.9289),
            (60.1851, 24.9238),
            (60.1890, 24.9180),
            (60.1952, 24.9108),
            (60.2035, 24.9050),
        ],
    },
    // From the Market Square over the Long Bridge and along Hämeentie to Arabia.
    Way {
        kinds: STREET,
        points: &[
            (60.1677, 24.9524),
            (60.1694, 24.9537),
            (60.1722, 24.9543),
            (60.1735, 24.9503),
            (60.1757, 24.9499),
            (60.1789, 24.9510),
            (60.1823, 24.9561),
            (60.1873, 24.9606),
            (60.1930, 24.9640),
            (60.1985, 24.9690),
            (60.2075, 24.9765),
        ],
    },
    // Aleksanterinkatu to the terminal of Katajanokka.
    Way {
        kinds: STREET,
        points: &[
            (60.1689, 24.9330),
            (60.1687, 24.9412),
            (60.1690, 24.9500),
            (60.1692, 24.9560),
            (60.1679, 24.9592),
            (60.1671, 24.9640),
            (60.1657, 24.9690),
        ],
    },
    // Bulevardi, and on to the ships of Jätkäsaari.
    Way {
        kinds: STREET,
        points: &[
            (60.1668, 24.9436),
            (60.1646, 24.9376),
            (60.1624, 24.9307),
            (60.1618, 24.9250),
            (60.1588, 24.9205),
            (60.1546, 24.9190),
            (60.1508, 24.9170),
        ],
    },
    // Kallio: round by the Bear Park and the fun fair to the Opera.
    Way {
        kinds: STREET,
        points: &[
            (60.1789, 24.9510),
            (60.1812, 24.9508),
            (60.1841, 24.9535),
            (60.1873, 24.9540),
            (60.1880, 24.9466),
            (60.1872, 24.9404),
            (60.1848, 24.9352),
            (60.1817, 24.9289),
            (60.1796, 24.9243),
            (60.1752, 24.9228),
            (60.1703, 24.9268),
            (60.1685, 24.9318),
        ],
    },
    // Fredrikinkatu to the shore of Eira.
    Way {
        kinds: STREET,
        points: &[
            (60.1713, 24.9303),
            (60.1685, 24.9330),
            (60.1650, 24.9367),
            (60.1608, 24.9386),
            (60.1577, 24.9400),
            (60.1545, 24.9385),
        ],
    },
    // From the Opera over Pasila to Käpylä.
    Way {
        kinds: STREET,
        points: &[
            (60.1817, 24.9289),
            (60.1862, 24.9262),
            (60.1898, 24.9268),
            (60.1944, 24.9318),
            (60.1987, 24.9345),
            (60.2062, 24.9442),
            (60.2140, 24.9480),
        ],
    },
    // The shore from the Market Square round the Well Park.
    Way {
        kinds: PATH,
        points: &[
            (60.1672, 24.9530),
            (60.1642, 24.9545),
            (60.1612, 24.9568),
            (60.1588, 24.9605),
            (60.1562, 24.9600),
            (60.1545, 24.9545),
            (60.1538, 24.9470),
            (60.1545, 24.9385),
            (60.1560, 24.9320),
            (60.1602, 24.9290),
        ],
    },
    // Round the bay of Töölö.
    Way {
        kinds: PATH,
        points: &[
            (60.1718, 24.9360),
            (60.1745, 24.9387),
            (60.1782, 24.9412),
            (60.1815, 24.9387),
            (60.1817, 24.9330),
            (60.1786, 24.9330),
            (60.1752, 24.9348),
            (60.1725, 24.9353),
        ],
    },
    // The old harbour railway, and over the bridge to Lauttasaari.
    Way {
        kinds: PATH,
        points: &[
            (60.1722, 24.9357),
            (60.1712, 24.9310),
            (60.1690, 24.9262),
            (60.1650, 24.9220),
            (60.1634, 24.9150),
            (60.1622, 24.9040),
            (60.1607, 24.8900),
            (60.1593, 24.8786),
        ],
    },
    // The western shore: Hietaniemi, the rowers, Munkkiniemi.
    Way {
        kinds: PATH,
        points: &[
            (60.1690, 24.9310),
            (60.1717, 24.9250),
            (60.1728, 24.9172),
            (60.1745, 24.9110),
            (60.1790, 24.9133),
            (60.1827, 24.9120),
            (60.1868, 24.9060),
            (60.1912, 24.8965),
            (60.1950, 24.8880),
            (60.1983, 24.8795),
        ],
    },
    // Itäväylä over Kulosaari to Itäkeskus.
    Way {
        kinds: ROAD,
        points: &[
            (60.1823, 24.9561),
            (60.1873, 24.9650),
            (60.1874, 24.9800),
            (60.1880, 25.0060),
            (60.1915, 25.0200),
            (60.1950, 25.0310),
            (60.2040, 25.0520),
            (60.2103, 25.0790),
        ],
    },
    // Länsiväylä to Espoo.
    Way {
        kinds: ROAD,
        points: &[
            (60.1634, 24.9150),
            (60.1648, 24.9000),
            (60.1660, 24.8760),
            (60.1690, 24.8480),
            (60.1702, 24.8180),
            (60.1668, 24.7920),
        ],
    },
    // Across the north: Teollisuuskatu to the quays of Kalasatama.
    Way {
        kinds: ROAD,
        points: &[
            (60.1993, 24.9250),
            (60.1987, 24.9345),
            (60.1955, 24.9440),
            (60.1930, 24.9540),
            (60.1905, 24.9620),
            (60.1885, 24.9740),
            (60.1842, 24.9790),
        ],
    },
    // From the Market Square to the sea fortress.
    Way {
        kinds: &[Kind::Ferry],
        points: &[
            (60.1668, 24.9552),
            (60.1650, 24.9600),
            (60.1612, 24.9680),
            (60.1550, 24.9770),
            (60.1510, 24.9830),
            (60.1488, 24.9850),
        ],
    },
];
