//! The herds of the course's years: who is in them, and who is joined with whom. Addresses are the
//! configuration's; a simulated herd has none.

/// How many servers each year has.
pub const SERVERS: usize = 5;

/// All years, oldest first. The newest is the default.
pub const PRESETS: [Preset; 8] = [
    Preset {
        year: "2014",
        alias: None,
        servers: ["Farmar", "Gasol", "Hill", "Meeks", "Young"],
        links: &[
            ("Farmar", "Meeks"),
            ("Farmar", "Young"),
            ("Gasol", "Meeks"),
            ("Gasol", "Young"),
            ("Hill", "Meeks"),
        ],
    },
    Preset {
        year: "2015",
        alias: None,
        servers: ["Alford", "Bolden", "Hamilton", "Parker", "Powell"],
        links: &[
            ("Alford", "Parker"),
            ("Alford", "Powell"),
            ("Bolden", "Parker"),
            ("Bolden", "Powell"),
            ("Hamilton", "Parker"),
        ],
    },
    Preset {
        year: "2017",
        alias: None,
        servers: ["Alford", "Ball", "Hamilton", "Holiday", "Welsh"],
        links: &[
            ("Alford", "Hamilton"),
            ("Alford", "Welsh"),
            ("Ball", "Holiday"),
            ("Ball", "Welsh"),
            ("Hamilton", "Holiday"),
        ],
    },
    Preset {
        year: "2018",
        alias: Some("2019"),
        servers: ["Goloman", "Hands", "Holiday", "Welsh", "Wilkes"],
        links: &[
            ("Goloman", "Hands"),
            ("Goloman", "Holiday"),
            ("Goloman", "Wilkes"),
            ("Hands", "Wilkes"),
            ("Holiday", "Welsh"),
            ("Holiday", "Wilkes"),
        ],
    },
    Preset {
        year: "2020",
        alias: None,
        servers: ["Hill", "Jaquez", "Smith", "Campbell", "Singleton"],
        links: &[
            ("Hill", "Jaquez"),
            ("Hill", "Smith"),
            ("Singleton", "Jaquez"),
            ("Singleton", "Smith"),
            ("Singleton", "Campbell"),
            ("Smith", "Campbell"),
        ],
    },
    Preset {
        year: "2021",
        alias: None,
        servers: ["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"],
        links: &[
            ("Riley", "Jaquez"),
            ("Riley", "Juzang"),
            ("Bernard", "Jaquez"),
            ("Bernard", "Juzang"),
            ("Bernard", "Campbell"),
            ("Juzang", "Campbell"),
        ],
    },
    Preset {
        year: "2022",
        alias: None,
        servers: ["Juzang", "Bernard", "Jaquez", "Johnson", "Clark"],
        links: &[
            ("Clark", "Jaquez"),
            ("Clark", "Juzang"),
            ("Bernard", "Juzang"),
            ("Bernard", "Jaquez"),
            ("Bernard", "Johnson"),
            ("Juzang", "Johnson"),
        ],
    },
    Preset {
        year: "2023",
        alias: None,
        servers: ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"],
        links: &[
            ("Clark", "Jaquez"),
            ("Clark", "Bona"),
            ("Campbell", "Bailey"),
            ("Campbell", "Bona"),
            ("Campbell", "Jaquez"),
            ("Bona", "Bailey"),
        ],
    },
];

/// One year's herd, as the course gave it.
#[derive(Debug)]
pub struct Preset {
    /// The year of the course, by which an operator asks for this herd.
    pub year: &'static str,
    /// A later year with the same herd.
    pub alias: Option<&'static str>,
    /// A server's place in this list is what its port is above the base port.
    pub servers: [&'static str; SERVERS],
    /// The first-named side dials.
    pub links: &'static [(&'static str, &'static str)],
}
