//! In a function of one's own: a value for a classification.
//!
//! error: errors cannot be classified by this: it is neither `|error| ..` nor a `Classify`
//! label: `u8` does not classify errors
//! note: the closure is given a reference to the error and answers `bool` (true is retry) or `Decision`

fn judge<W: relent::operation::Classify<u16>>(_: W) {}

pub fn slips() {
    judge(1_u8);
}
