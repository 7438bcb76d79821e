//! Work on several threads whose results come in the order of the work.
//!
//! A [`Lane`] is driven by one thread, which has all the state that must be in order: it pushes
//! jobs and pops what became of them, the oldest first. What a job gives depends on the job alone,
//! so that nothing depends on how many threads there are. With one thread there are no others:
//! a job is done as it is pushed.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[cfg(not(shuttle))]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc::{Receiver, Sender, channel},
    sync::{Mutex, PoisonError},
    thread::{Builder, Scope, scope},
};

// A scheduler that tries out how threads can interleave: see `tests` below.
#[cfg(shuttle)]
use shuttle::{
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc::{Receiver, Sender, channel},
    sync::{Mutex, PoisonError},
    thread::{Scope, scope},
};

/// What may be under way at most, and for each thread more: bytes of jobs and results.
const WINDOW: u64 = 16 << 20;
const WINDOW_OF_THREAD: u64 = 8 << 20;

/// Returns how many threads are meant: all that the machine has, where nothing is said.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> NonZero<usize> {
    asked.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}

/// Returns how many handles the system lets a job have open beside `others`.
pub(crate) fn free_handles(others: u64) -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.unwrap_or(u64::MAX).saturating_sub(others)
}

/// What a panic of a worker said.
type Panic = Box<dyn Any + Send>;

/// What a job became, with its number.
type Answer<D> = (u64, Result<D, Panic>);

/// Runs `drive` with a lane to at most `threads` workers. Each has a state that `state` makes, and
/// does with it, by `work`, the jobs it gets. Jobs that nobody popped when `drive` returns are
/// dropped.
///
/// # Panics
///
/// When `work` does: `drive` does then, where it would pop the job.
pub(crate) fn in_order<J: Send, D: Send, S, T>(
    threads: NonZero<usize>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> D + Sync,
    drive: impl FnOnce(&mut Lane<'_, J, D>) -> T,
) -> T {
    let mut own = None;
    let mut alone = |job| work(own.get_or_insert_with(&state), job);
    if threads.get() == 1 {
        return drive(&mut Lane::new(threads, &mut alone, None));
    }
    let (jobs, todo) = channel();
    let (answers, done) = channel();
    let shared = Shared { todo: Mutex::new(todo), stopped: AtomicBool::new(false) };
    let body = |answers: Sender<Answer<D>>| {
        let mut own = None;
        while let Some((number, job)) = shared.next() {
            // A panic must reach the thread that waits for this job.
            let result =
                catch_unwind(AssertUnwindSafe(|| work(own.get_or_insert_with(&state), job)));
            let failed = result.is_err();
            if answers.send((number, result)).is_err() || failed {
                break;
            }
        }
    };
    let body = &body;
    scope(|scope| {
        let spawn = |answers| start(scope, body, answers);
        let team = Team { jobs, done, answers, stopped: &shared.stopped, spawn: &spawn, size: 0 };
        drive(&mut Lane::new(threads, &mut alone, Some(team)))
    })
}

/// Starts a worker; returns whether the system had a thread for it.
fn start<'scope, D: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    body: &'scope (impl Fn(Sender<Answer<D>>) + Sync),
    answers: Sender<Answer<D>>,
) -> bool {
    // Nobody waits for one worker alone: the scope waits for all.
    #[cfg(not(shuttle))]
    return Builder::new().spawn_scoped(scope, move || body(answers)).is_ok();
    #[cfg(shuttle)]
    {
        let _handle = scope.spawn(move || body(answers));
        true
    }
}

/// What all workers share.
struct Shared<J> {
    todo: Mutex<Receiver<(u64, J)>>,
    stopped: AtomicBool,
}

impl<J> Shared<J> {
    /// Waits for the next job; `None` when there will be no more.
    fn next(&self) -> Option<(u64, J)> {
        // Who holds the lock waits for a job, all others for the lock.
        let todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        let job = todo.recv().ok();
        job.filter(|_| !self.stopped.load(Ordering::Relaxed))
    }
}

/// Takes jobs and gives back what became of them, in the same order.
pub(crate) struct Lane<'a, J, D> {
    /// Does a job on this thread: where there is no team.
    alone: &'a mut dyn FnMut(J) -> D,
    team: Option<Team<'a, J, D>>,
    most_workers: usize,
    /// Number of the next job.
    next: u64,
    /// Weights of the jobs that were not popped, and what became of them, oldest first.
    window: VecDeque<(u64, Option<D>)>,
    weight: u64,
    capacity: u64,
}

struct Team<'a, J, D> {
    jobs: Sender<(u64, J)>,
    done: Receiver<Answer<D>>,
    answers: Sender<Answer<D>>,
    stopped: &'a AtomicBool,
    spawn: &'a dyn Fn(Sender<Answer<D>>) -> bool,
    size: usize,
}

impl<J, D> Drop for Team<'_, J, D> {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl<'a, J, D> Lane<'a, J, D> {
    fn new(
        threads: NonZero<usize>,
        alone: &'a mut dyn FnMut(J) -> D,
        team: Option<Team<'a, J, D>>,
    ) -> Self {
        let capacity = WINDOW + WINDOW_OF_THREAD * threads.get() as u64;
        let (most_workers, window) = (threads.get(), VecDeque::new());
        Self { alone, team, most_workers, next: 0, window, weight: 0, capacity }
    }

    /// Hands out a job that holds `weight` bytes of memory, together with what becomes of it.
    pub(crate) fn push(&mut self, job: J, weight: u64) {
        self.start_worker();
        match &self.team {
            None => {
                let done = (self.alone)(job);
                self.window.push_back((weight, Some(done)));
            }
            Some(team) => {
                self.window.push_back((weight, None));
                // Receivers live as long as the lane.
                let _sent = team.jobs.send((self.next, job));
            }
        }
        self.next += 1;
        self.weight = self.weight.saturating_add(weight);
    }

    /// Starts as many workers as there is work for: a small job starts one. Where the system has no
    /// more threads, those that there are must do.
    fn start_worker(&mut self) {
        let Some(team) = &mut self.team else { return };
        if team.size >= self.most_workers || self.window.len() < team.size {
            return;
        }
        if (team.spawn)(team.answers.clone()) {
            team.size += 1;
        } else if team.size > 0 {
            self.most_workers = team.size;
        } else {
            self.team = None;
        }
    }

    /// Returns whether so much is under way that something should be popped before the next push.
    pub(crate) fn is_full(&self) -> bool {
        self.weight >= self.capacity
    }

    /// Returns whether a job of that weight would make too much of what is under way.
    pub(crate) fn is_full_for(&self, weight: u64) -> bool {
        self.weight.saturating_add(weight) > self.capacity
    }

    /// Returns how many jobs were pushed and not popped.
    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    /// Waits for the oldest job and returns what became of it; `None` when there is none.
    pub(crate) fn pop(&mut self) -> Option<D> {
        while let (_, None) = self.window.front()? {
            let answer = self.team.as_ref()?.done.recv().ok()?;
            self.settle(answer);
        }
        self.take()
    }

    /// Returns what became of the oldest job, if it is done.
    pub(crate) fn pop_done(&mut self) -> Option<D> {
        while let (_, None) = self.window.front()? {
            let answer = self.team.as_ref()?.done.try_recv().ok()?;
            self.settle(answer);
        }
        self.take()
    }

    fn settle(&mut self, (number, result): Answer<D>) {
        let done = result.unwrap_or_else(|panic| resume_unwind(panic));
        let oldest = self.next - self.window.len() as u64;
        let slot = usize::try_from(number - oldest).ok().and_then(|at| self.window.get_mut(at));
        if let Some((_, slot)) = slot {
            *slot = Some(done);
        }
    }

    fn take(&mut self) -> Option<D> {
        let (weight, done) = self.window.pop_front()?;
        self.weight -= weight;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test as it is, or under many schedules: `RUSTFLAGS="--cfg shuttle" cargo test -p
    /// isptar-core --lib parallel::tests`.
    fn check(test: impl Fn() + Send + Sync + 'static) {
        #[cfg(shuttle)]
        shuttle::check_random(test, 5000);
        #[cfg(not(shuttle))]
        test();
    }

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap()
    }

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        for count in [1, 2, 3] {
            check(move || {
                let squares = in_order(
                    threads(count),
                    || 0u64,
                    |done, job: u64| {
                        *done += 1;
                        job * job
                    },
                    |lane| {
                        let mut squares = Vec::new();
                        for job in 0..7 {
                            if lane.len() == 4 {
                                squares.extend(lane.pop());
                            }
                            lane.push(job, 1);
                            squares.extend(lane.pop_done());
                        }
                        while let Some(square) = lane.pop() {
                            squares.push(square);
                        }
                        assert_eq!((lane.len(), lane.weight), (0, 0));
                        squares
                    },
                );
                assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36]);
            });
        }
    }

    #[test]
    fn what_is_left_when_the_driver_returns_is_dropped() {
        for count in [1, 2, 3] {
            check(move || {
                let result = in_order(
                    threads(count),
                    || (),
                    |(), job: u64| job,
                    |lane| {
                        for job in 0..5 {
                            lane.push(job, 1);
                        }
                        lane.pop().ok_or("none").and(Err::<(), _>("stopped"))
                    },
                );
                assert_eq!(result, Err("stopped"));
            });
        }
    }

    #[test]
    fn the_window_is_counted_in_bytes() {
        check(|| {
            let fill = |lane: &mut Lane<'_, (), ()>| {
                let mut pushed = 0;
                while !lane.is_full() {
                    lane.push((), 1 << 20);
                    pushed += 1;
                }
                assert_eq!(pushed, 32);
                assert!(lane.pop().is_some() && !lane.is_full());
            };
            in_order(threads(2), || (), |(), ()| (), fill);
        });
    }

    #[test]
    #[cfg(not(shuttle))]
    fn a_panic_of_a_worker_reaches_the_driver() {
        for count in [1, 2] {
            let run = || {
                let work = |(): &mut (), job: u64| assert_ne!(job, 3, "job three");
                in_order(
                    threads(count),
                    || (),
                    work,
                    |lane| {
                        (0..5).for_each(|job| lane.push(job, 1));
                        while lane.pop().is_some() {}
                    },
                );
            };
            let panic = catch_unwind(run).unwrap_err();
            assert!(panic.downcast::<String>().unwrap().contains("job three"));
        }
    }
}
