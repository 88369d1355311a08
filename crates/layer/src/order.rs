//! The order of entries in a layer.

use std::cmp;

use crate::Node;

/// Sorts a tree, in the order of [`View::tree`](crate::View::tree), by `mtime`, oldest first. What is in
/// a directory counts as no older than the directory, which so stays in front of it. What is equally old
/// stays in its order.
pub(crate) fn oldest_first(nodes: Vec<Node>, mtime: impl Fn(&Node) -> i64) -> Vec<Node> {
    // How old the directories on the way to a node count as.
    let mut above: Vec<i64> = Vec::new();
    let mut aged: Vec<(i64, Node)> = nodes
        .into_iter()
        .map(|node| {
            let depth = node.path.components().skip(1).count();
            above.truncate(depth.saturating_sub(1));
            let age = above.last().map_or(mtime(&node), |&above| cmp::max(above, mtime(&node)));
            if node.meta.is_dir() {
                above.push(age);
            }
            (age, node)
        })
        .collect();
    aged.sort_by_key(|(age, _)| *age);
    aged.into_iter().map(|(_, node)| node).collect()
}
