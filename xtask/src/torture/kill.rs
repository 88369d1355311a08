//! kill -9 at any moment.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{lab::Lab, random::Random};

/// How long a command is expected to take before one has come to its end.
const GUESS: Duration = Duration::from_millis(400);

/// How often a build is let be, to see that everything still works.
const PROOF: u64 = 10;

/// Kills commands `times` times, each at a random moment of its life.
pub(super) fn run(lab: &Lab, times: u64, random: &mut Random) -> Result<()> {
    lab.prepare()?;
    let mut lengths: HashMap<&str, Duration> = HashMap::new();
    let (mut killed, mut round, mut ended) = (0, 0, 0);
    let begin = Instant::now();
    while killed < times {
        round += 1;
        let mut running = Vec::new();
        for n in 0..=random.below(3) {
            let (name, command) = lab.command(n, random);
            let logs = lab.env.path(format!("log{n}"));
            fs::create_dir_all(&logs)?;
            let length = *lengths.get(name).unwrap_or(&GUESS);
            let moment = random.moment(length + length / 8);
            running.push((name, logs.clone(), moment, Instant::now(), command.spawn(&logs)));
        }
        running.sort_by_key(|(_, _, moment, ..)| *moment);
        let names: Vec<_> =
            running.iter().map(|(name, _, moment, ..)| format!("{name} at {moment:.0?}")).collect();
        let what = || format!("round {round}: {}", names.join(", "));
        for (name, logs, moment, start, mut child) in running {
            std::thread::sleep(moment.saturating_sub(start.elapsed()));
            let gone = child.try_wait()?;
            child.kill()?;
            let status = child.wait()?;
            if status.code().is_none() {
                killed += 1;
                continue;
            }
            ended += 1;
            // It ended before: that is how long it takes.
            let took = if gone.is_some() { moment.min(start.elapsed()) } else { moment };
            lengths.insert(name, took.max(Duration::from_millis(5)));
            let said = fs::read_to_string(logs.join("stderr"))?;
            let excused = said.contains("No such image") || said.contains("is being removed");
            ensure!(
                status.success() || excused,
                "{}: {name} failed by itself ({status}):\n{said}",
                what()
            );
        }
        lab.verify().with_context(what)?;
        if round % PROOF == 0 {
            lab.works(random.below(5)).with_context(what)?;
            lab.verify().with_context(what)?;
            println!("    {killed} killed, {ended} came to their end, {:.0?}", begin.elapsed());
        }
        for length in lengths.values_mut() {
            // So that a length learned from an early end grows again.
            *length = (*length + *length / 16).min(Duration::from_secs(3));
        }
    }
    lab.works(1)?;
    lab.verify()
}
