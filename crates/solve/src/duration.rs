//! How long steps took, which tells what to start first when not all can run at once.
//!
//! A hint and nothing else: a step is known by its scope, so that the next version of it is taken for
//! as long as the last one.

use std::time::Duration;

use bld_store::StoreError;

use crate::solver::Build;

/// What is shorter is not worth a transaction.
const WORTH: Duration = Duration::from_millis(100);

/// Remembers that step `index` took so long.
pub(crate) fn remember(build: &Build, index: usize, took: Duration) -> Result<(), StoreError> {
    if took < WORTH {
        return Ok(());
    }
    build.env.store.put_duration(&build.steps[index].scope, took)
}

/// How long `steps` will take, in milliseconds. What has never taken long counts as one.
pub(crate) fn expected(build: &Build, steps: &[usize]) -> Result<Vec<u64>, StoreError> {
    let expected = steps.iter().map(|&step| {
        let known = build.env.store.duration(&build.steps[step].scope)?;
        Ok(known.map_or(1, |known| u64::try_from(known.as_millis()).unwrap_or(u64::MAX)))
    });
    expected.collect()
}
