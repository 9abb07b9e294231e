//! How relent does beside another.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ahead,
    Even,
    Behind,
}

impl Standing {
    /// Even is what differs by less than 1 %, and of times by less than 5 %. There is no ratio to nothing.
    pub fn of(amount: f64, ratio: Option<f64>, is_time: bool) -> Self {
        let tolerance = if is_time { 0.05 } else { 0.01 };
        match ratio {
            Some(ratio) if ratio >= 1.0 + tolerance => Self::Behind,
            Some(ratio) if ratio <= 1.0 - tolerance => Self::Ahead,
            None if amount > 0.0 => Self::Behind,
            _ => Self::Even,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Even => "even",
            Self::Behind => "BEHIND",
        }
    }
}

/// Of what one takes to what the other takes.
pub fn ratio(amount: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| amount / other)
}

/// As the table has it.
pub fn shown(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio < 0.01 && ratio > 0.0 => format!("{ratio:.4}"),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

/// Says how often relent stands where.
pub fn sum_up(standings: &[Standing], others: &str) -> String {
    let of = |standing| standings.iter().filter(|it| **it == standing).count();
    format!(
        "relent is ahead in {} of {} rows that {others} has, even in {}, behind in {}",
        of(Standing::Ahead),
        standings.len(),
        of(Standing::Even),
        of(Standing::Behind),
    )
}
