//! `/emdata/0/data.csv` and `/em1data/<n>/data.csv`: minute records as a file, streamed piece by
//! piece (`docs/protocol/http.md#the-csv-file`).

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::Path,
    http::{HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::Number;

use super::{downloads::DownloadSlot, request::Asked};
use config::Profile;
use device::{
    RpcError,
    frame::query_to_params,
    history::{Columns, Csv},
};

/// What a handler gives; either is an answer.
type Answer = Result<Response<Body>, Response<Body>>;

/// Which records; what is empty or null counts as left out, of a name that comes twice the last
/// counts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CsvQuery {
    ts: Option<Number>,
    end_ts: Option<Number>,
    /// As for `GetData`, the keys come unless they are declined.
    add_keys: Option<bool>,
}

/// Unix s as `GetData` takes them: fractions are cut off.
fn seconds(number: &Number) -> i64 {
    number
        .as_i64()
        .or_else(|| number.as_f64().map(|f| f as i64))
        .unwrap_or_default()
}

/// `/emdata/0/data.csv`: in profile triphase.
pub(super) async fn emdata(asked: Asked, body: Body) -> Answer {
    file(asked, body, Profile::Triphase, Columns::Em, "emdata").await
}

/// `/em1data/<n>/data.csv`: in profile monophase.
pub(super) async fn em1data(Path(id): Path<String>, asked: Asked, body: Body) -> Answer {
    let id = id.parse().ok().filter(|id| *id < 3);
    let columns = id.map(Columns::Em1).ok_or_else(|| not_here(&asked))?;
    file(asked, body, Profile::Monophase, columns, "em1data").await
}

fn not_here(asked: &Asked) -> Response<Body> {
    asked.refuse(StatusCode::NOT_FOUND, "Not Found")
}

async fn file(asked: Asked, body: Body, profile: Profile, columns: Columns, name: &str) -> Answer {
    asked.admit()?;
    if asked.ground.state.profile != profile {
        return Err(not_here(&asked));
    }
    // By POST the same names stand in the body, as a form.
    let form = asked.read(body).await?;
    let query = asked.head.uri.query().unwrap_or_default();
    let names = format!("{query}&{}", String::from_utf8_lossy(&form));
    let wanted: CsvQuery = serde_json::from_str(&query_to_params(&names)).map_err(|_| {
        let why = "ts and end_ts are Unix seconds, add_keys is true or false";
        asked.error(&RpcError::new(-103, why))
    })?;
    let (from, end) = (
        wanted.ts.as_ref().map(seconds),
        wanted.end_ts.as_ref().map(seconds),
    );
    let mut csv = Csv::new(
        Arc::clone(&asked.site.endpoint.records),
        columns,
        from.unwrap_or(0),
        end.unwrap_or(i64::MAX),
        wanted.add_keys.unwrap_or(true),
    );
    let place = asked.site.downloads.enter(asked.connection.peer.ip());
    let place = place.ok_or_else(|| asked.error(&RpcError::busy("Too many downloads at once")))?;
    // The first piece decides whether there is a file at all; the others follow as fast as the
    // reader takes them.
    let reading = background::run(move || (csv.next(), csv)).await;
    let (first, rest) =
        reading.map_err(|refused| asked.error(&RpcError::busy(refused.to_string())))?;
    let first = first
        .transpose()
        .map_err(|unread| asked.error(&RpcError::unavailable(unread.to_string())))?;
    let mut response = asked.answer(StatusCode::OK, Bytes::new());
    if let Some(first) = first {
        *response.body_mut() = Body::from_stream(pieces(first, rest, place));
    }
    let mac = &asked.ground.device.identity.mac;
    let since = from.map(|ts| format!("_{ts}")).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv"));
    if let Ok(disposition) =
        HeaderValue::from_str(&format!("attachment; filename=\"{name}_{mac}{since}.csv\""))
    {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// The pieces, each read when the reader has taken the one before: who does not read holds no
/// thread, and two pieces at most.
fn pieces(first: String, rest: Csv, place: DownloadSlot) -> impl Stream<Item = io::Result<Bytes>> {
    let rest = stream::try_unfold((rest, place), |(mut csv, place)| async move {
        // An error cuts the file off, so that nobody takes a part for the whole.
        let reading = background::go_on(move || (csv.next(), csv)).await;
        let (piece, csv) = reading.map_err(io::Error::other)?;
        let piece = piece.transpose().map_err(io::Error::other)?;
        Ok(piece.map(|piece| (Bytes::from(piece), (csv, place))))
    });
    stream::iter([Ok(Bytes::from(first))]).chain(rest)
}
