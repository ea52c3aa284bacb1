use std::convert::Infallible;

use application::ports::StoreError;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use domain::{JobId, LogChunk, LogCursor, LogStream, TenantId};
use futures::stream;
use utoipa::IntoParams;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::path::JobPath;
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, OfJob, Queried};
use crate::sse::{Watch, Woken};
use crate::state::App;

/// Chunks read from the store at once.
const CHUNKS_A_READ: u32 = 200;
pub(crate) const TAIL_MAX: u32 = 10_000;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct LogParams {
    /// Only the last so many lines, at most 10,000.
    #[param(minimum = 1, maximum = 10000)]
    tail: Option<u32>,
    /// True: go on with what the job prints from now on, until it is over.
    #[param(default = false)]
    follow: Option<bool>,
}

/// Read a job's log
///
/// What its runs printed, as plain text, the first run first.
#[utoipa::path(
    get,
    path = "/{id}/logs",
    params(("id" = Uuid, Path, description = "The job's id."), LogParams),
    responses(
        (status = 200, description = "The log.", body = String, content_type = "text/plain"),
        Guarded, OfJob, Queried,
    ),
)]
pub(super) async fn logs(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
    mut query: Query,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let tail = query.number("tail", 1, TAIL_MAX.into());
    let follow = query.flag("follow");
    query.finish()?;
    let watch = if follow {
        Some(Watch::start(&app, tenant, id).await?)
    } else {
        None
    };
    of_kind.find(&app, tenant, id).await?;
    let mut reader = LogReader {
        app: app.clone(),
        watch,
        tenant,
        job: id,
        after: LogCursor::default(),
        writer: Writer::default(),
        first: String::new(),
    };
    if let Some(lines) = tail.and_then(|lines| u32::try_from(lines).ok()) {
        reader.start_with_tail(lines).await?;
        if !follow {
            return Ok(text(Body::from(reader.first)));
        }
    }
    let chunks = stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), reader))
    });
    Ok(text(Body::from_stream(chunks)))
}

fn text(body: Body) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

struct LogReader {
    app: App,
    /// Present while following.
    watch: Option<Watch>,
    tenant: TenantId,
    job: JobId,
    after: LogCursor,
    writer: Writer,
    /// Told before anything else is read.
    first: String,
}

impl LogReader {
    /// The last lines, found in the last chunks: a chunk has at least one line, or a part of one.
    async fn start_with_tail(&mut self, lines: u32) -> Result<(), StoreError> {
        let jobs = &self.app.ports.jobs;
        let chunks = jobs.log_tail(self.tenant, self.job, lines).await?;
        let text = self.take(chunks.unwrap_or_default());
        last_lines(&text, lines).clone_into(&mut self.first);
        Ok(())
    }

    /// The next text, `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        loop {
            match self.read().await {
                Err(error) => {
                    tracing::error!(%error, job = %self.job, "a log stream broke off");
                    return None;
                }
                Ok((text, _)) if !text.is_empty() => return Some(text),
                Ok((_, over)) => {
                    let watch = self.watch.as_mut().filter(|_| !over)?;
                    if watch.wait().await == Woken::Draining {
                        return None;
                    }
                }
            }
        }
    }

    /// What is there now, and whether the job was over before that was read.
    async fn read(&mut self) -> Result<(String, bool), StoreError> {
        let jobs = &self.app.ports.jobs;
        let over = match self.watch {
            Some(_) => {
                let job = jobs.get(self.tenant, self.job).await?;
                job.is_none_or(|job| job.state().is_finished())
            }
            None => true,
        };
        let chunks = jobs
            .logs(self.tenant, self.job, self.after, CHUNKS_A_READ)
            .await?;
        Ok((self.take(chunks.unwrap_or_default()), over))
    }

    fn take(&mut self, chunks: Vec<LogChunk>) -> String {
        if let Some(last) = chunks.last() {
            self.after = last.cursor;
        }
        self.writer.write(chunks)
    }
}

/// Joins chunks into a text in which a new run or another stream begins on a new line.
#[derive(Default)]
pub(crate) struct Writer {
    /// Where an unfinished line comes from.
    open: Option<(u32, LogStream)>,
}

impl Writer {
    pub fn write(&mut self, chunks: Vec<LogChunk>) -> String {
        let mut text = String::new();
        for chunk in chunks {
            let source = (chunk.cursor.attempt, chunk.stream);
            if self.open.is_some_and(|open| open != source) {
                text.push('\n');
            }
            self.open = (!chunk.text.ends_with('\n')).then_some(source);
            text.push_str(&chunk.text);
        }
        text
    }
}

pub(crate) fn last_lines(text: &str, lines: u32) -> &str {
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let body = text.strip_suffix('\n').unwrap_or(text);
    let start = body.rmatch_indices('\n').nth(lines.saturating_sub(1));
    start.map_or(text, |(at, _)| &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a\nb\n", 5), "a\nb\n");
        assert_eq!(last_lines("a\n\n", 1), "\n");
        assert_eq!(last_lines("", 3), "");
    }

    #[test]
    fn another_source_begins_on_a_new_line() {
        let chunk = |attempt, number, stream, text: &str| LogChunk {
            cursor: LogCursor { attempt, number },
            at: domain::Timestamp::UNIX_EPOCH,
            stream,
            text: text.to_owned(),
        };
        let chunks = vec![
            chunk(1, 1, LogStream::Stdout, "half a "),
            chunk(1, 2, LogStream::Stdout, "line"),
            chunk(1, 3, LogStream::Stderr, "oops\n"),
            chunk(2, 1, LogStream::Stdout, "again\n"),
        ];
        assert_eq!(
            Writer::default().write(chunks),
            "half a line\noops\nagain\n"
        );
    }
}
