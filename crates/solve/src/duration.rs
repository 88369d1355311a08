//! How long steps took, which tells what to start first when not all can run at once.
//!
//! A hint and nothing else: a step is known by its scope, so that the next version of it is taken for
//! as long as the last one.

use std::time::Duration;

use bld_store::StoreError;

use crate::solver::Build;

/// Where the store keeps them, in milliseconds as text.
const BUCKET: &str = "durations";

/// What is shorter is not worth a transaction.
const WORTH: Duration = Duration::from_millis(100);

/// Remembers that step `index` took so long.
pub(crate) fn remember(build: &Build, index: usize, took: Duration) -> Result<(), StoreError> {
    if took < WORTH {
        return Ok(());
    }
    let text = took.as_millis().to_string();
    build.env.store.put(BUCKET, &build.steps[index].scope, text.as_bytes())
}

/// How long `steps` will take, in milliseconds. What has never taken long counts as one.
pub(crate) fn expected(build: &Build, steps: &[usize]) -> Result<Vec<u64>, StoreError> {
    let expected = steps.iter().map(|&step| {
        let text = build.env.store.get(BUCKET, &build.steps[step].scope)?;
        let known = text.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        Ok(known.unwrap_or(1))
    });
    expected.collect()
}
