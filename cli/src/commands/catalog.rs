//! `assay search`, `releases` and `token`: what a registry says, for people to choose from.

use assay_client::catalog::Catalog;
use assay_schema::api::{CreateToken, ReleaseState, Scope, TokenInfo};
use serde_json::json;

use crate::args::{Releases, ScopeName, Search, TokenCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, bytes, columns, files};
use crate::verdict::printable;

impl From<ScopeName> for Scope {
    fn from(scope: ScopeName) -> Self {
        match scope {
            ScopeName::Read => Self::Read,
            ScopeName::Publish => Self::Publish,
            ScopeName::Admin => Self::Admin,
        }
    }
}

pub(super) fn search(context: &Context, args: &Search) -> Result<Answer, Failure> {
    let transport = context.registry(&args.registry)?;
    let found = Catalog::new(transport.as_ref()).search(&args.text, args.page.limit)?;
    let rows: Vec<_> = found
        .iter()
        .map(|hit| {
            [
                format!("{}/{}", hit.namespace, hit.model),
                hit.highest.as_ref().map(ToString::to_string).unwrap_or_default(),
            ]
        })
        .collect();
    Ok(Answer::new(json!({"models": found}), columns(&rows)))
}

pub(super) fn releases(context: &Context, args: &Releases) -> Result<Answer, Failure> {
    let transport = context.registry(&args.registry)?;
    let found = Catalog::new(transport.as_ref()).releases(&args.model, args.page.limit)?;
    // A model is there by its releases only.
    let found = found.filter(|releases| !releases.is_empty()).ok_or_else(|| {
        let message = format!(
            "{}: the registry shows no release of {}",
            args.registry.registry, args.model
        );
        Failure::new(Exit::NotFound, "no-model", message)
            .advise("Check the name; a private namespace needs a token")
    })?;
    let rows: Vec<_> = found
        .iter()
        .map(|release| {
            let state = match release.state {
                ReleaseState::Candidate => "candidate",
                ReleaseState::Published => "published",
            };
            let order = format!("order {}", release.order);
            [
                release.version.to_string(),
                order,
                state.to_owned(),
                files(release.files),
                bytes(release.size),
            ]
        })
        .collect();
    Ok(Answer::new(json!({"releases": found}), columns(&rows)))
}

pub(super) fn token(context: &Context, command: &TokenCommand) -> Result<Answer, Failure> {
    match command {
        TokenCommand::Create(args) => {
            let transport = context.registry(&args.registry)?;
            let new = Catalog::new(transport.as_ref()).create_token(&CreateToken {
                label: args.label.clone(),
                scope: args.scope.into(),
                namespace: args.namespace.clone(),
                expires: args.expires,
            })?;
            let text = format!(
                "{}\ntoken {}; the secret above is shown this once",
                printable(&new.secret),
                printable(&new.token.id)
            );
            Ok(Answer::new(
                json!({"secret": new.secret, "token": new.token}),
                text,
            ))
        }
        TokenCommand::List(args) => {
            let transport = context.registry(&args.registry)?;
            let found = Catalog::new(transport.as_ref()).tokens(args.page.limit)?;
            let rows: Vec<_> = found.iter().map(row).collect();
            Ok(Answer::new(json!({"tokens": found}), columns(&rows)))
        }
        TokenCommand::Revoke(args) => {
            let transport = context.registry(&args.registry)?;
            Catalog::new(transport.as_ref()).revoke_token(&args.id)?;
            Ok(Answer::new(
                json!({"revoked": args.id}),
                format!("token {} is revoked", args.id),
            ))
        }
    }
}

fn row(token: &TokenInfo) -> [String; 5] {
    let scope = match token.scope {
        Scope::Read => "read",
        Scope::Publish => "publish",
        Scope::Admin => "admin",
    };
    let namespace = token
        .namespace
        .as_ref()
        .map_or_else(|| "all".to_owned(), ToString::to_string);
    let expires = token
        .expires
        .map_or_else(|| "never expires".to_owned(), |t| format!("expires {t}"));
    [
        printable(&token.id),
        scope.to_owned(),
        namespace,
        expires,
        printable(&token.label),
    ]
}
