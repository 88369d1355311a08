//! Which vertex may be worked on next: a pure step function over explicit states.
//!
//! The schedule knows nothing of operations, threads or time. The driver asks it what is ready,
//! tells it how each vertex ended, and does whatever it answers; so every order of events can be
//! tested without running anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Where one vertex stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for this many inputs.
    Blocked(usize),
    /// Waits for its turn.
    Ready,
    /// Handed to the driver.
    Active,
    /// Its result exists.
    Done,
    /// It failed.
    Failed,
    /// It was given up: an input failed, or the build was canceled.
    Canceled,
}

/// How a vertex that was active ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Canceled,
}

/// What follows from a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// Vertices to start now, the one with the longest way to the end first.
    pub(crate) start: Vec<usize>,
    /// Vertices that will never start.
    pub(crate) canceled: Vec<usize>,
}

/// The states of all vertices of one build. Vertices are numbered in an order in which every input
/// comes before its users.
#[derive(Debug)]
pub(crate) struct Schedule {
    states: Vec<State>,
    users: Vec<Vec<usize>>,
    /// How long it takes from the start of the vertex to the end, along the longest path.
    distance: Vec<u64>,
    /// What may start, the one with the longest way to the end first.
    ready: BinaryHeap<(u64, Reverse<usize>)>,
    active: usize,
    /// Most vertices that are active at the same time.
    slots: usize,
    halted: bool,
}

impl Schedule {
    /// A schedule over vertices whose inputs are `inputs[i]`, each smaller than `i`, and which are
    /// expected to take `expected[i]`, in whatever unit.
    pub(crate) fn new(inputs: &[Vec<usize>], expected: &[u64], slots: usize) -> Self {
        let mut users = vec![Vec::new(); inputs.len()];
        let mut states = Vec::with_capacity(inputs.len());
        for (vertex, inputs) in inputs.iter().enumerate() {
            let mut distinct = inputs.clone();
            distinct.sort_unstable();
            distinct.dedup();
            states.push(State::Blocked(distinct.len()));
            for input in distinct {
                debug_assert!(input < vertex, "inputs come before their users");
                users[input].push(vertex);
            }
        }
        let mut distance = vec![0; inputs.len()];
        for vertex in (0..inputs.len()).rev() {
            let behind = users[vertex].iter().map(|&user| distance[user]).max().unwrap_or(0);
            distance[vertex] = expected[vertex] + behind;
        }
        let ready = BinaryHeap::new();
        Self { states, users, distance, ready, active: 0, slots: slots.max(1), halted: false }
    }

    /// The vertices without inputs, which may start at once.
    pub(crate) fn begin(&mut self) -> Next {
        let ready =
            (0..self.states.len()).filter(|&v| self.states[v] == State::Blocked(0)).collect();
        Next { start: self.activate(ready), canceled: Vec::new() }
    }

    /// Takes note of how `vertex` ended. The first failure halts the schedule: nothing new starts,
    /// and what waits is given up; active vertices still report their own end.
    pub(crate) fn end(&mut self, vertex: usize, outcome: Outcome) -> Next {
        debug_assert_eq!(self.states[vertex], State::Active);
        self.active -= 1;
        match outcome {
            Outcome::Done => {
                self.states[vertex] = State::Done;
                if self.halted {
                    return Next::default();
                }
                let mut ready = Vec::new();
                for &user in &self.users[vertex] {
                    if let State::Blocked(missing) = &mut self.states[user] {
                        *missing -= 1;
                        if *missing == 0 {
                            ready.push(user);
                        }
                    }
                }
                Next { start: self.activate(ready), canceled: Vec::new() }
            }
            Outcome::Failed => {
                self.states[vertex] = State::Failed;
                self.halt()
            }
            Outcome::Canceled => {
                self.states[vertex] = State::Canceled;
                self.halt()
            }
        }
    }

    /// Gives up every vertex that has not started.
    pub(crate) fn halt(&mut self) -> Next {
        self.halted = true;
        let mut canceled = Vec::new();
        for (vertex, state) in self.states.iter_mut().enumerate() {
            if let State::Blocked(_) | State::Ready = state {
                *state = State::Canceled;
                canceled.push(vertex);
            }
        }
        Next { start: Vec::new(), canceled }
    }

    /// Whether nothing is active and nothing will start.
    pub(crate) fn is_over(&self) -> bool {
        let is_open =
            |state: &State| matches!(state, State::Blocked(_) | State::Ready | State::Active);
        !self.states.iter().any(is_open)
    }

    /// Adds `ready` to what may start, and starts as much of it as there is room for.
    fn activate(&mut self, ready: Vec<usize>) -> Vec<usize> {
        for vertex in ready {
            self.states[vertex] = State::Ready;
            self.ready.push((self.distance[vertex], Reverse(vertex)));
        }
        let mut start = Vec::new();
        while self.active < self.slots
            && let Some((_, Reverse(vertex))) = self.ready.pop()
        {
            self.states[vertex] = State::Active;
            self.active += 1;
            start.push(vertex);
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 -> 1 -> 3, 2 -> 3
    fn diamond() -> Schedule {
        Schedule::new(&[vec![], vec![0], vec![], vec![1, 2, 2]], &[1; 4], 9)
    }

    #[test]
    fn what_takes_longest_has_the_first_turn() {
        // 0 -> 4, 1 -> 4, 2 -> 3 -> 4
        let inputs = [vec![], vec![], vec![], vec![2], vec![0, 1, 3]];
        let order = |expected: &[u64; 5], slots| {
            let mut schedule = Schedule::new(&inputs, expected, slots);
            let mut open = schedule.begin().start;
            let mut order = Vec::new();
            while !open.is_empty() {
                assert!(open.len() <= slots);
                let vertex = open.remove(0);
                order.push(vertex);
                open.extend(schedule.end(vertex, Outcome::Done).start);
            }
            assert!(schedule.is_over());
            order
        };
        assert_eq!(order(&[1, 1, 1, 1, 1], 1), [2, 0, 1, 3, 4]);
        assert_eq!(order(&[5, 900, 1, 1, 1], 1), [1, 0, 2, 3, 4]);
        assert_eq!(order(&[5, 9, 1, 90, 1], 2), [2, 1, 3, 0, 4]);
    }

    #[test]
    fn what_waits_for_its_turn_is_given_up_too() {
        let mut schedule = Schedule::new(&[vec![], vec![], vec![]], &[1; 3], 1);
        assert_eq!(schedule.begin().start, [0]);
        assert_eq!(schedule.end(0, Outcome::Failed).canceled, [1, 2]);
        assert!(schedule.is_over());
    }

    #[test]
    fn the_longest_path_starts_first_and_users_wait_for_all_inputs() {
        let mut schedule = diamond();
        assert_eq!(schedule.begin().start, [0, 2]);
        assert_eq!(schedule.end(2, Outcome::Done), Next::default());
        assert_eq!(schedule.end(0, Outcome::Done).start, [1]);
        assert_eq!(schedule.end(1, Outcome::Done).start, [3]);
        assert!(!schedule.is_over());
        schedule.end(3, Outcome::Done);
        assert!(schedule.is_over());
    }

    #[test]
    fn a_failure_gives_up_what_waits_and_lets_the_active_end() {
        let mut schedule = diamond();
        schedule.begin();
        assert_eq!(schedule.end(0, Outcome::Failed).canceled, [1, 3]);
        assert!(!schedule.is_over());
        assert_eq!(schedule.end(2, Outcome::Done), Next::default());
        assert!(schedule.is_over());
    }

    #[test]
    fn every_order_of_ends_runs_each_vertex_once() {
        let inputs = [vec![], vec![], vec![0, 1], vec![0], vec![2, 3]];
        let mut schedule = Schedule::new(&inputs, &[1; 5], 9);
        let mut open = schedule.begin().start;
        let mut ran = Vec::new();
        while let Some(vertex) = open.pop() {
            ran.push(vertex);
            open.extend(schedule.end(vertex, Outcome::Done).start);
        }
        ran.sort_unstable();
        assert_eq!(ran, [0, 1, 2, 3, 4]);
        assert!(schedule.is_over());
    }
}
