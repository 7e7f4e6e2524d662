//! What the guard of instructions says of a figure. Apart from how that is counted, so that a test
//! can ask it.

/// A report that is dearer by more must be made cheaper, or be written down with the reason.
const DEARER_PERCENT: u64 = 4;
/// A report that is cheaper by more must be written down, or the gain can be lost unseen.
const CHEAPER_PERCENT: u64 = 10;

/// Whether so many instructions are about as many as are written down.
///
/// # Errors
/// What is to be done about it, if they are not.
pub fn judge(each: u64, recorded: u64) -> Result<(), String> {
    if 100 * each > recorded * (100 + DEARER_PERCENT) {
        Err(format!("A report costs more than {DEARER_PERCENT} % above what is written down."))
    } else if 100 * each < recorded * (100 - CHEAPER_PERCENT) {
        Err(format!("A report is cheaper by {CHEAPER_PERCENT} %: write it down in RECORDED."))
    } else {
        Ok(())
    }
}
