//! The decisions of a run, against the naive model.

use proptest::prelude::*;

use crate::{bytes, cases, models, source};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_run_is_what_the_model_says(bytes in bytes()) {
        models::attempts::check(&mut source(&bytes));
    }
}
