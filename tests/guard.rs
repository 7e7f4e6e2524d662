//! The guard of instructions (`cargo bench --bench instructions`), as far as it needs no valgrind:
//! what it lets pass, and what it does not.

#[path = "../benches/common/judgement.rs"]
mod judgement;

use judgement::judge;

/// Goal: the guard fails both ways, and nothing passes that is beyond a bound.
#[test]
fn a_guard_fails_both_ways() {
    for (each, recorded, passes) in [
        (1_041, 1_000, false),
        (1_040, 1_000, true),
        (1_000, 1_000, true),
        (900, 1_000, true),
        (899, 1_000, false),
        // Not a whole instruction is given away by rounding.
        (305, 293, false),
        (304, 293, true),
        (264, 293, true),
        (263, 293, false),
    ] {
        assert_eq!(judge(each, recorded).is_ok(), passes, "{each} instead of {recorded}");
    }
    assert!(judge(899, 1_000).unwrap_err().contains("RECORDED"), "it says where");
}
