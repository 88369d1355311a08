//! The page, as it was embedded.

use std::io::Read as _;

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

const MISSING: &str = "This bld was built without its page.\n\n\
    \"cargo xtask frontend\" makes the page (it needs Node), and the next build of bld embeds it.\n\
    The API is here all the same: see /api\n";

/// Views whose first document has the address of the view, in the API.
const ALIKE: [&str; 6] = ["builds", "images", "containers", "volumes", "networks", "disk"];

/// What a browser may fetch while it still reads the page of a view, as `Link` (RFC 8288).
fn ahead(path: &str) -> Option<HeaderValue> {
    let path = if path == "/" { "/builds" } else { path };
    let view = path.split('/').nth(1)?;
    let document = |path: &str| format!("</api/v1{path}>; rel=preload; as=fetch; crossorigin");
    let documents = format!("{}, {}", document(""), document(path));
    ALIKE.contains(&view).then(|| HeaderValue::from_str(&documents).ok())?
}

/// A file of the page; for addresses that are none the page itself, which knows what they are.
pub(crate) async fn serve(headers: HeaderMap, uri: Uri) -> Response {
    let path = uri.path();
    let is_asset = path.starts_with("/assets/");
    let file = find(path).or_else(|| if is_asset { None } else { find("/index.html") });
    let Some((name, compressed)) = file else {
        let status = if is_asset { StatusCode::NOT_FOUND } else { StatusCode::OK };
        return (status, MISSING).into_response();
    };
    // Names of assets change with their contents.
    let cache = if is_asset { "private, max-age=31536000, immutable" } else { "no-cache" };
    let common = [(header::CONTENT_TYPE, kind(name)), (header::CACHE_CONTROL, cache)];
    let link = if is_asset { None } else { ahead(path) }.map(|link| [(header::LINK, link)]);
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        let encoding = [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];
        return (common, encoding, link, Body::from(compressed)).into_response();
    }
    let mut plain = Vec::new();
    match GzDecoder::new(compressed).read_to_end(&mut plain) {
        Ok(_) => (common, link, plain).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn find(path: &str) -> Option<(&'static str, &'static [u8])> {
    FILES.iter().find(|(name, _)| *name == path).copied()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "webmanifest" => "application/json",
        "woff2" => "font/woff2",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}
