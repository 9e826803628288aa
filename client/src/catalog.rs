//! What a registry says that it holds, and its tokens. Nothing here is verified: it is for people to look at and choose from;
//! what a device accepts, [`Device`](crate::Device) says.

use assay_schema::api::{CreateToken, NamespaceInfo, NewToken, Page, ReleaseInfo, SearchHit, TokenInfo};
use assay_schema::limits::{MAX_JSON_BODY, MAX_PAGE};
use assay_schema::{ModelRef, NamespaceName};
use serde::de::DeserializeOwned;

use crate::transport::paths::escape;
use crate::transport::{Body, Fetched, Request, Transport, TransportError};

/// A page of 200 entries, each with two names, a digest and some numbers.
const MAX_LISTING: u64 = 4 * MAX_JSON_BODY;

type Result<T> = std::result::Result<T, TransportError>;

/// A registry's listings.
#[derive(Clone, Copy)]
pub struct Catalog<'a> {
    transport: &'a dyn Transport,
}

impl std::fmt::Debug for Catalog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl<'a> Catalog<'a> {
    /// The listings of the registry behind `transport`.
    pub fn new(transport: &'a dyn Transport) -> Self {
        Self { transport }
    }

    /// The namespaces that the token may see, at most `limit`.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn namespaces(&self, limit: usize) -> Result<Vec<NamespaceInfo>> {
        self.list("/v1/namespaces?", limit).map(Option::unwrap_or_default)
    }

    /// One namespace; `None` if there is none that the token may see.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn namespace(&self, name: &NamespaceName) -> Result<Option<NamespaceInfo>> {
        self.get(&format!("/v1/namespaces/{name}"))
    }

    /// The releases of a model, at most `limit`; `None` if there is no such model that the token may see.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn releases(&self, model: &ModelRef, limit: usize) -> Result<Option<Vec<ReleaseInfo>>> {
        self.list(
            &format!(
                "/v1/namespaces/{}/models/{}/releases?",
                model.namespace, model.model
            ),
            limit,
        )
    }

    /// Models whose name, or whose namespace's name, contains the text; at most `limit`.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn search(&self, text: &str, limit: usize) -> Result<Vec<SearchHit>> {
        self.list(&format!("/v1/search?q={}&", escape(text)), limit)
            .map(Option::unwrap_or_default)
    }

    /// All tokens without their secrets, at most `limit`.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn tokens(&self, limit: usize) -> Result<Vec<TokenInfo>> {
        self.list("/v1/tokens?", limit).map(Option::unwrap_or_default)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn create_token(&self, token: &CreateToken) -> Result<NewToken> {
        let path = "/v1/tokens".to_owned();
        let body = serde_json::to_vec(token)
            .map_err(|e| malformed(&path, "a request that can be written as JSON", &e))?;
        let reply = self.transport.send(Request {
            method: "POST",
            path: path.clone(),
            body: Body::Json(body),
            offset: None,
        })?;
        read(&path, &reply.body)
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn revoke_token(&self, id: &str) -> Result<()> {
        // An id with a slash would be another path.
        let path = format!("/v1/tokens/{}", escape(id).replace('/', "%2F"));
        self.transport
            .send(Request {
                method: "DELETE",
                path,
                body: Body::Empty,
                offset: None,
            })
            .map(drop)
    }

    fn list<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<Option<Vec<T>>> {
        let mut items: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < limit {
            let count = (limit - items.len()).min(MAX_PAGE as usize);
            let from = cursor
                .as_deref()
                .map(|c| format!("&cursor={}", escape(c)))
                .unwrap_or_default();
            let Some(page) = self.get::<Page<T>>(&format!("{path}limit={count}{from}"))? else {
                return Ok(None);
            };
            // A page of nothing with a next one would be asked for again for ever.
            let more = !page.items.is_empty();
            items.extend(page.items);
            cursor = page.next.filter(|_| more);
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(limit);
        Ok(Some(items))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.transport.get(path, MAX_LISTING, None)? {
            Fetched::Found { bytes, .. } => read(path, &bytes).map(Some),
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }
}

fn read<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| malformed(path, "the answer that the API describes", &e))
}

fn malformed(path: &str, expected: &'static str, found: &serde_json::Error) -> TransportError {
    TransportError::Malformed {
        path: path.to_owned(),
        expected,
        found: assay_schema::shown::json_error(found),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Mutex;

    use super::*;
    use crate::transport::{Reply, Traffic};

    /// Answers each request with the next of its pages, the last one for ever, and remembers the paths.
    struct Pages {
        pages: Vec<&'static str>,
        asked: Mutex<Vec<String>>,
    }

    impl Pages {
        fn new(pages: &[&'static str]) -> Self {
            Self {
                pages: pages.to_vec(),
                asked: Mutex::default(),
            }
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Transport for Pages {
        fn get(&self, path: &str, _: u64, _: Option<&str>) -> Result<Fetched> {
            let mut asked = self.asked.lock().unwrap();
            let page = self.pages[asked.len().min(self.pages.len() - 1)];
            asked.push(path.to_owned());
            assert!(asked.len() < 10, "asks for ever: {asked:?}");
            Ok(match page {
                "" => Fetched::Missing,
                page => Fetched::Found {
                    bytes: page.into(),
                    etag: None,
                },
            })
        }

        fn open(&self, _: &str, _: u64, _: u64) -> Result<Box<dyn Read + '_>> {
            panic!("a listing opens no file")
        }

        fn send(&self, request: Request<'_>) -> Result<Reply> {
            self.asked.lock().unwrap().push(request.path);
            Ok(Reply {
                status: 204,
                body: Vec::new(),
            })
        }

        fn traffic(&self) -> Traffic {
            Traffic::default()
        }
    }

    const TWO: &str =
        r#"{"items":[{"namespace":"a","model":"x"},{"namespace":"b","model":"y"}],"next":"c&d=1"}"#;
    const ONE: &str = r#"{"items":[{"namespace":"c","model":"z","highest":"1.0"}]}"#;

    #[test]
    fn pages_follow_each_other_up_to_the_limit() {
        let transport = Pages::new(&[TWO, ONE]);
        assert_eq!(Catalog::new(&transport).search("a/b c", 10).unwrap().len(), 3);
        let asked = transport.asked();
        assert_eq!(
            asked,
            [
                "/v1/search?q=a/b%20c&limit=10",
                "/v1/search?q=a/b%20c&limit=8&cursor=c%26d%3D1"
            ]
        );
        // More entries than were asked for are a registry's mistake, and cut.
        assert_eq!(Catalog::new(&Pages::new(&[TWO])).search("x", 1).unwrap().len(), 1);
    }

    #[test]
    fn an_endless_listing_of_nothing_ends() {
        let transport = Pages::new(&[r#"{"items":[],"next":"more"}"#]);
        assert_eq!(Catalog::new(&transport).search("x", 10).unwrap(), []);
        assert_eq!(transport.asked().len(), 1);
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_empty_and_from_nonsense() {
        let model = "acme/m".parse().unwrap();
        assert!(
            Catalog::new(&Pages::new(&[""]))
                .releases(&model, 9)
                .unwrap()
                .is_none()
        );
        let empty = Catalog::new(&Pages::new(&[r#"{"items":[]}"#]))
            .releases(&model, 9)
            .unwrap();
        assert_eq!(empty, Some(Vec::new()));
        let nonsense = Catalog::new(&Pages::new(&["<html>"])).releases(&model, 9);
        assert!(matches!(nonsense, Err(TransportError::Malformed { .. })));
    }

    #[test]
    fn an_id_cannot_name_another_path() {
        let transport = Pages::new(&[""]);
        Catalog::new(&transport)
            .revoke_token("../namespaces/acme?x")
            .unwrap();
        assert_eq!(transport.asked(), ["/v1/tokens/..%2Fnamespaces%2Facme%3Fx"]);
    }
}
