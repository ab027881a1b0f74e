//! Independent questions, asked side by side and answered in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use rayon::ThreadPoolBuilder;

use crate::Result;

/// Calls `ask` on every item, `at_once` of them side by side, and `take` with each item's index and answer
/// in the items' order. The first error ends it.
///
/// Every item runs on one thread, so that its result does not depend on how many there are.
pub(super) fn in_order<T: Sync, A: Send>(
    items: &[T],
    at_once: usize,
    ask: &(dyn Fn(&T) -> Result<A> + Sync),
    take: &mut dyn FnMut(usize, A) -> Result<()>,
) -> Result<()> {
    let workers = at_once.min(items.len());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, answers) = channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                let work = || {
                    while !stop.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else {
                            return;
                        };
                        // Nobody listens any more once the first error ended it.
                        let _ = sender.send((index, ask(item)));
                    }
                };
                match ThreadPoolBuilder::new().num_threads(1).build() {
                    Ok(pool) => pool.install(work),
                    Err(_) => work(),
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut expected = 0;
        let mut outcome = Ok(());
        for (index, answer) in answers {
            early.insert(index, answer);
            while let Some(answer) = early.remove(&expected) {
                if outcome.is_ok() {
                    outcome = answer.and_then(|answer| take(expected, answer));
                }
                expected += 1;
            }
            if outcome.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn answers_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        let slow_first = |&item: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(100 - item));
            Ok(item * 2)
        };
        let mut taken = Vec::new();
        in_order(&items, 3, &slow_first, &mut |index, answer| {
            taken.push((index as u64, answer));
            Ok(())
        })
        .unwrap();
        let expected: Vec<(u64, u64)> = items.iter().map(|&i| (i, i * 2)).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn the_first_error_in_order_ends_it_and_what_came_before_is_taken() {
        let items: Vec<usize> = (0..50).collect();
        let fails = |&item: &usize| match item {
            7 | 9 => Err(Error::NoneAskedFor),
            _ => Ok(item),
        };
        let mut taken = Vec::new();
        let outcome = in_order(&items, 2, &fails, &mut |index, _| {
            taken.push(index);
            Ok(())
        });
        assert!(matches!(outcome, Err(Error::NoneAskedFor)));
        assert_eq!(taken, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_to_ask_is_no_error() {
        in_order(&[], 2, &|(): &()| Ok(()), &mut |_, ()| Ok(())).unwrap();
    }
}
