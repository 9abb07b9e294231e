//! The delays, against the naive model.

use proptest::prelude::*;

use crate::{bytes, cases, models, source};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn delays_are_what_the_model_says(bytes in bytes()) {
        models::backoff::check(&mut source(&bytes));
    }
}
