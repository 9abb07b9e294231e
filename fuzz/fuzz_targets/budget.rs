//! Budgets against sums in exact fractions and runs kept one by one, over any history.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relent::{
    Ratio,
    policy::limit::budget::{RatioBudget, ConcurrencyBudget},
};

fuzz_target!(|data: &[u8]| {
    let Some((head, steps)) = data.split_first_chunk::<5>() else { return };
    let (above, below) = (u32::from(u16::from_le_bytes([head[0], head[1]])), u32::from(u16::from_le_bytes([head[2], head[3]])).max(1));
    let reserve = if head[4] == 255 { u32::MAX } else { u32::from(head[4] % 16) };
    let ratio = Ratio::new(above, below).unwrap();

    // Retries in units of 1/below, not reduced.
    let account = RatioBudget::new(ratio, reserve);
    let (price, most) = (u128::from(below), (u128::from(reserve) * u128::from(below)).max(u128::from(above) + u128::from(below)));
    let (mut balance, mut exact, mut held) = (account.start(), u128::from(reserve) * price, 0_u32);

    let crowd = ConcurrencyBudget::new(ratio, reserve);
    let (mut word, mut runs) = (0, Vec::<bool>::new());

    for step in steps {
        let who = usize::from(step >> 2).checked_rem(runs.len());
        match (step % 4, who) {
            (0, _) => {
                (balance, exact) = (account.deposit(balance), (exact + u128::from(above)).min(most));
                word = ConcurrencyBudget::begin(word).unwrap();
                runs.push(false);
            }
            (1, _) => {
                let after = account.withdraw(balance);
                assert_eq!(after.is_some(), exact >= price);
                if let Some(after) = after {
                    (balance, exact, held) = (after, exact - price, held + 1);
                }
                if let Some(who) = who {
                    let others = runs.iter().filter(|retrying| **retrying).count() - usize::from(runs[who]);
                    let share = (runs.len() as u64 * u64::from(above) / u64::from(below)).max(reserve.into());
                    let after = crowd.retry(word, runs[who]);
                    assert_eq!(after.is_some(), (others as u64) < share);
                    if let Some(after) = after {
                        (word, runs[who]) = (after, true);
                    }
                }
            }
            (2, Some(who)) => {
                if held > 0 {
                    (balance, exact, held) = (account.give_back(balance), (exact + price).min(most), held - 1);
                }
                if std::mem::replace(&mut runs[who], false) {
                    word = ConcurrencyBudget::retries_no_more(word);
                }
            }
            (_, Some(who)) => {
                let retrying = runs.swap_remove(who);
                word = ConcurrencyBudget::end(word, retrying);
            }
            _ => {}
        }
        assert_eq!(u128::from(account.retries(balance)), exact / price);
        let retrying = runs.iter().filter(|retrying| **retrying).count();
        assert_eq!(ConcurrencyBudget::counts(word), (runs.len() as u32, retrying as u32));
    }
});
