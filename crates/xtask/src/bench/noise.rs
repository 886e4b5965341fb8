//! How many cores other processes used while something was measured: figures of a busy machine say little. PyTorch's threads, which wait
//! for each other by spinning, can then take a thousand times as long.

use std::fs;
use std::time::Instant;

/// Linux counts in hundredths of a second, whatever its clock.
const TICKS_A_SECOND: f64 = 100.0;

/// A time from which on others are watched.
pub struct Others {
    began: Instant,
    ticks: Option<u64>,
}

impl Others {
    pub fn watch() -> Others {
        Others { began: Instant::now(), ticks: ticks() }
    }

    /// Cores that processes other than this one and its children have used since; None where the system does not say.
    pub fn cores(&self) -> Option<f64> {
        let ticks = ticks()?.saturating_sub(self.ticks?);
        Some(ticks as f64 / TICKS_A_SECOND / self.began.elapsed().as_secs_f64())
    }

    /// What a reader has to know of it: nothing, of a quiet machine.
    pub fn warning(&self) -> Option<String> {
        let cores = self.cores().filter(|cores| *cores >= 0.1)?;
        Some(format!("other processes used {cores:.1} cores meanwhile"))
    }
}

fn ticks() -> Option<u64> {
    let all = busy(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(all.saturating_sub(own(&fs::read_to_string("/proc/self/stat").ok()?)?))
}

/// All that processors did but wait: user, nice, system, interrupts, and what was given to other virtual machines.
fn busy(stat: &str) -> Option<u64> {
    let mut numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let [user, nice, system, _idle, _wait, irq, soft, steal] = [(); 8].map(|()| next());
    Some(user? + nice? + system? + irq? + soft? + steal?)
}

/// What this process and the children that have ended used. The name, in parentheses, may hold spaces.
fn own(stat: &str) -> Option<u64> {
    let after = stat.rsplit_once(") ")?.1;
    // The state is the third field; user and system time are 14 and 15, those of children 16 and 17.
    let fields: Option<Vec<u64>> = after.split_whitespace().skip(11).take(4).map(|field| field.parse().ok()).collect();
    fields.filter(|fields| fields.len() == 4).map(|fields| fields.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read() {
        assert_eq!(busy("cpu  100 20 30 5000 400 1 2 3 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"), Some(156));
        assert_eq!(busy("intr 1"), None);
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194304 1 2 3 4 10 20 300 4000 20 0 1 0";
        assert_eq!(own(stat), Some(4330));
        assert_eq!(own("17 (a) S 1"), None);
    }
}
