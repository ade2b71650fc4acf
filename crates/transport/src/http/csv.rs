//! `/emdata/0/data.csv` and `/em1data/<n>/data.csv`: minute records as a file, streamed piece by
//! piece (`docs/protocol/http.md#the-csv-file`).

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Number;

use super::{
    downloads::DownloadSlot,
    reply::{answer, error, unauthorized},
    request::RequestInfo,
    rpc,
    site::Shared,
};
use crate::listener::Connection;
use config::Profile;
use device::{
    RpcError,
    frame::query_to_params,
    history::{Columns, Csv},
};

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
pub(super) async fn emdata(
    state: Shared,
    connection: Extension<Arc<Connection>>,
    request: Request,
) -> Response<Body> {
    file(
        state,
        connection,
        request,
        Profile::Triphase,
        Columns::Em,
        "emdata",
    )
    .await
}

/// `/em1data/<n>/data.csv`: in profile monophase.
pub(super) async fn em1data(
    state: Shared,
    connection: Extension<Arc<Connection>>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    match id.parse::<usize>() {
        Ok(id) if id < 3 => {
            file(
                state,
                connection,
                request,
                Profile::Monophase,
                Columns::Em1(id),
                "em1data",
            )
            .await
        }
        _ => error(&state.endpoint.ground(), request.headers(), &not_here()),
    }
}

fn not_here() -> RpcError {
    RpcError {
        code: 404,
        message: "Not Found".into(),
    }
}

async fn file(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    profile: Profile,
    columns: Columns,
    name: &str,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = RequestInfo::of(&site, &connection, &head);
    if let Err(challenge) = site.endpoint.admit(&asked.caller, &asked.terms()) {
        return unauthorized(&asked.ground, &head.headers, &challenge, Bytes::new());
    }
    if asked.ground.state.profile != profile {
        return error(&asked.ground, &head.headers, &not_here());
    }
    // By POST the same names stand in the body, as a form.
    let form = match rpc::read(&asked, body).await {
        Ok(form) => form,
        Err(refused) => return refused,
    };
    let names = format!(
        "{}&{}",
        head.uri.query().unwrap_or_default(),
        String::from_utf8_lossy(&form)
    );
    let Ok(wanted) = serde_json::from_str::<CsvQuery>(&query_to_params(&names)) else {
        let message = "ts and end_ts are Unix seconds, add_keys is true or false".into();
        return error(
            &asked.ground,
            &head.headers,
            &RpcError {
                code: -103,
                message,
            },
        );
    };
    let (from, end) = (
        wanted.ts.as_ref().map_or(0, seconds),
        wanted.end_ts.as_ref().map_or(i64::MAX, seconds),
    );
    let mut csv = Csv::new(
        Arc::clone(&site.endpoint.records),
        columns,
        from,
        end,
        wanted.add_keys.unwrap_or(true),
    );

    let Some(place) = site.downloads.enter(asked.caller.peer) else {
        return error(
            &asked.ground,
            &head.headers,
            &RpcError::busy("Too many downloads at once"),
        );
    };
    // The first piece decides whether there is a file at all; the others follow as fast as the
    // reader takes them.
    let (first, rest) = match background::run(move || (csv.next(), csv)).await {
        Ok((Some(Err(refused)), _)) => {
            return error(
                &asked.ground,
                &head.headers,
                &RpcError::unavailable(refused.to_string()),
            );
        }
        Ok((first, rest)) => (first.and_then(Result::ok).unwrap_or_default(), rest),
        Err(refused) => {
            return error(
                &asked.ground,
                &head.headers,
                &RpcError::busy(refused.to_string()),
            );
        }
    };
    let body = if first.is_empty() {
        Body::empty()
    } else {
        Body::from_stream(stream(first, rest, place))
    };
    let mut response = answer(
        &asked.ground,
        &head.headers,
        StatusCode::OK,
        HeaderValue::from_static("text/csv"),
        Bytes::new(),
    );
    *response.body_mut() = body;
    let mac = &asked.ground.device.identity.mac;
    let since = wanted
        .ts
        .as_ref()
        .map(|ts| format!("_{}", seconds(ts)))
        .unwrap_or_default();
    if let Ok(disposition) =
        HeaderValue::from_str(&format!("attachment; filename=\"{name}_{mac}{since}.csv\""))
    {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// The pieces, each read when the reader has taken the one before: who does not read holds no
/// thread, and two pieces at most.
fn stream(
    first: String,
    rest: Csv,
    place: DownloadSlot,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::unfold(
        (Some(first), Some(rest), place),
        |(first, rest, place)| async move {
            if let Some(first) = first {
                return Some((Ok(Bytes::from(first)), (None, rest, place)));
            }
            let mut csv = rest?;
            // An error cuts the file off, so that nobody takes a part for the whole.
            match background::go_on(move || (csv.next(), csv)).await {
                Ok((piece, csv)) => piece.map(|piece| {
                    (
                        piece.map(Bytes::from).map_err(std::io::Error::other),
                        (None, Some(csv), place),
                    )
                }),
                Err(refused) => Some((Err(std::io::Error::other(refused)), (None, None, place))),
            }
        },
    )
}
