//! What is done to many groups: the one loop over them. It must not know what is done.

use std::future::Future;

use futures_util::stream::{self, StreamExt as _};

use crate::manager::GroupResult;
use crate::{GroupName, OperationError};

/// Does something to each of `groups`, at most `at_once` at a time, and returns what came of each, in
/// their order. One failure stops no other.
pub(crate) async fn each_group<G, T, Done>(
    groups: Vec<(GroupName, G)>,
    at_once: usize,
    operation: impl Fn(G) -> Done,
) -> Vec<GroupResult<T>>
where
    Done: Future<Output = Result<T, OperationError>>,
{
    let running = stream::iter(groups).map(|(group, handle)| {
        let done = operation(handle);
        async move {
            GroupResult {
                group,
                result: done.await,
            }
        }
    });
    running.buffered(at_once).collect().await
}
