//! What was measured, kept from one run of the benchmark to the next.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{builder, growth::Chart, measure::Usage, workload::Goal};

/// Everything measured by this checkout, on whichever days.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) rows: Vec<Row>,
    /// What the builders call themselves.
    pub(super) versions: Vec<String>,
    /// How cost grows.
    pub(super) charts: Vec<Chart>,
}

/// One workload; what failed has no usage.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) date: String,
    pub(super) own: Option<Usage>,
    pub(super) peers: Vec<Peer>,
    pub(super) limit: Option<Limit>,
    /// Bytes of memory it is to stay below.
    pub(super) memory: Option<u64>,
    /// Where the time goes, as Markdown, if there is more of it than there should be.
    pub(super) profile: Option<String>,
}

/// What another builder took.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) usage: Option<Usage>,
    pub(super) has_daemon: bool,
}

/// The most time that bld should need.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Limit {
    /// Seconds.
    pub(super) wall: f64,
    /// What that is a share of, if it is one.
    pub(super) of: Option<String>,
}

impl Limit {
    /// What `goal` means beside what the others took; nothing beside nobody.
    pub(super) fn new(goal: Goal, peers: &[Peer]) -> Option<Self> {
        let mut measured = peers.iter().filter_map(|peer| Some((&*peer.name, peer.usage?.wall)));
        let (share, found, otherwise) = match goal {
            Goal::Within(wall) => return Some(Self { wall, of: None }),
            Goal::Share(share, name, otherwise) => {
                (share, measured.find(|(peer, _)| *peer == name), Some((name, otherwise)))
            }
            Goal::ShareOfBest(share) => {
                (share, measured.min_by(|(_, a), (_, b)| a.total_cmp(b)), None)
            }
        };
        let of =
            |name: &str| if share < 1.0 { format!("{share} × {name}") } else { name.to_owned() };
        match (found, otherwise) {
            (Some((name, wall)), _) => Some(Self { wall: share * wall, of: Some(of(name)) }),
            (None, Some((name, wall))) => {
                Some(Self { wall, of: Some(format!("{} elsewhere", of(name))) })
            }
            (None, None) => None,
        }
    }
}

impl Row {
    /// A row of bld alone, without a goal.
    pub(super) fn of_bld(id: &str, title: &str, own: Option<Usage>) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            date: jiff::Zoned::now().date().to_string(),
            own,
            peers: Vec::new(),
            limit: None,
            memory: None,
            profile: None,
        }
    }

    /// Whether bld was as quick as it should be; `None` when there is no goal.
    pub(super) fn met(&self) -> Option<bool> {
        let limit = self.limit.as_ref()?;
        Some(self.own.is_some_and(|own| own.wall <= limit.wall))
    }
}

impl Results {
    /// Reads what earlier runs left.
    pub(super) fn load(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&fs::read(file)?)
            .with_context(|| format!("read {}, which you may remove to start anew", file.display()))
    }

    /// Writes them for later runs.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        Ok(fs::write(file, serde_json::to_vec_pretty(self)?)?)
    }

    /// Puts a row in its place, and its predecessor out of it. Rows are in the order of `ids`, and
    /// those of other ids are forgotten. Others that did not take part this time keep their figures.
    pub(super) fn put(&mut self, mut row: Row, ids: &[&str]) {
        if let Some(at) = self.rows.iter().position(|known| known.id == row.id) {
            let known = self.rows.remove(at);
            let absent = |peer: &Peer| row.peers.iter().all(|present| present.name != peer.name);
            let kept: Vec<_> = known.peers.into_iter().filter(absent).collect();
            row.peers.extend(kept);
            row.peers.sort_by_key(|peer| builder::place(&peer.name));
        }
        self.rows.push(row);
        let place = |row: &Row| ids.iter().position(|id| *id == row.id);
        self.rows.retain(|row| place(row).is_some());
        self.rows.sort_by_key(place);
    }

    /// Puts charts in their place, and their predecessors out of it.
    pub(super) fn put_charts(&mut self, charts: Vec<Chart>) {
        for chart in charts {
            match self.charts.iter_mut().find(|known| known.name == chart.name) {
                Some(known) => *known = chart,
                None => self.charts.push(chart),
            }
        }
    }

    /// Which of `ids` were never measured.
    pub(super) fn missing<'a>(&self, ids: &[&'a str]) -> Vec<&'a str> {
        let known = |id: &&str| self.rows.iter().any(|row| row.id == *id);
        ids.iter().copied().filter(|id| !known(id)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn usage(wall: f64) -> Usage {
        Usage { wall, cpu: wall / 2.0, memory: 14_000_000 }
    }

    pub(in super::super) fn row(id: &str, own: Option<f64>, peers: &[(&str, Option<f64>)]) -> Row {
        let peers = peers
            .iter()
            .map(|(name, wall)| Peer {
                name: (*name).to_owned(),
                usage: wall.map(usage),
                has_daemon: name.starts_with("buildctl"),
            })
            .collect();
        Row { peers, ..Row::of_bld(id, "t", own.map(usage)) }
    }

    #[test]
    fn a_new_row_takes_the_place_of_the_old_one() {
        let ids = ["W1", "W2", "W10"];
        let mut results = Results::default();
        results.put(row("W10", Some(1.0), &[]), &ids);
        results.put(row("W1", Some(2.0), &[("buildah", Some(3.0)), ("podman", None)]), &ids);
        assert_eq!(results.missing(&ids), ["W2"]);
        results.put(row("W1", Some(4.0), &[("buildah", Some(5.0))]), &ids);
        let found: Vec<_> = results.rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(found, ["W1", "W10"]);
        assert_eq!(results.rows[0].own, Some(usage(4.0)));
        let peers = &results.rows[0].peers;
        assert_eq!(peers[0].usage, Some(usage(5.0)));
        assert_eq!(peers[1].name, "podman", "not measured again, but not lost");
        results.put(row("W10", None, &[]), &ids[1..]);
        assert_eq!(results.rows.len(), 1, "W1 is no workload any more");
    }

    #[test]
    fn a_new_chart_takes_the_place_of_the_old_one() {
        let mut results = Results::default();
        results.put_charts(vec![Chart::new("a", "old", ""), Chart::new("b", "kept", "")]);
        results.put_charts(vec![Chart::new("a", "new", ""), Chart::new("c", "added", "")]);
        let titles: Vec<_> = results.charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["new", "kept", "added"]);
    }

    #[test]
    fn a_goal_follows_what_the_other_took() {
        let row = row("W4a", Some(3.0), &[("buildctl", Some(7.0))]);
        let goal = Goal::Share(0.5, "buildctl", 3.8);
        let limit = Limit { wall: 3.5, of: Some("0.5 × buildctl".to_owned()) };
        assert_eq!(Limit::new(goal, &row.peers).as_ref(), Some(&limit));
        let elsewhere = Some("0.5 × buildctl elsewhere".to_owned());
        assert_eq!(Limit::new(goal, &[]), Some(Limit { wall: 3.8, of: elsewhere }));
        assert_eq!(Limit::new(Goal::ShareOfBest(0.5), &row.peers).as_ref(), Some(&limit));
        assert_eq!(Limit::new(Goal::ShareOfBest(0.5), &[]), None);
        let met = |own: Option<f64>| {
            let own = own.map(usage);
            Row { limit: Some(limit.clone()), own, ..row.clone() }.met()
        };
        assert_eq!(met(Some(3.4)), Some(true));
        assert_eq!(met(Some(3.6)), Some(false));
        assert_eq!(met(None), Some(false));
        assert_eq!(row.met(), None);
    }
}
