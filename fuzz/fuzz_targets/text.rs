//! Any text is refused, or read as a policy that is written as a text of the same meaning.
#![no_main]

use relent::Policy;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(policy) = text.parse::<Policy>() {
        assert_eq!(policy.to_string().parse::<Policy>().as_ref(), Ok(&policy));
    }
});
