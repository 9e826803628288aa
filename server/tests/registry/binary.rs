//! The real process.

use std::process::Command;

use assay_schema::api::UploadInfo;

use super::process::{Process, server};
use super::support::{MIB, Registry, config, open, sample, sha256};

#[tokio::test]
async fn the_admin_token_is_shown_once_and_a_signal_stops_in_order() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let mut token = None;
    for (round, signal) in ["-TERM", "-INT"].into_iter().enumerate() {
        let mut process = Process::start(folder.path(), "");
        if round == 0 {
            token = process.token().map(str::to_owned);
        } else {
            assert!(process.token().is_none(), "shown a second time");
        }
        let url = format!("{}/v1/tokens", process.url());
        let answer = reqwest::Client::new()
            .get(url)
            .bearer_auth(token.as_ref().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        process.signal(signal);
        assert!(process.child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_registry_whose_admin_tokens_are_all_gone_gets_another() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let absent = server(&["token"], &data);
    let text = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(!absent.status.success() && text.contains("--data-dir"), "{text}");
    assert!(!data.exists(), "a mistyped folder became a registry");

    let process = Process::start(folder.path(), "");
    let first = process.token().unwrap().to_owned();
    let (client, url) = (reqwest::Client::new(), format!("{}/v1/tokens", process.url()));
    let id = first.split('_').nth(1).unwrap();
    let revoked = client
        .delete(format!("{url}/{id}"))
        .bearer_auth(&first)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), 204);
    let busy = server(&["token"], &data);
    assert!(!busy.status.success());
    assert!(String::from_utf8_lossy(&busy.stderr).contains("found another registry"));
    drop(process);

    assert!(
        !server(&["token", ""], &data).status.success(),
        "a token without a label"
    );
    let made = server(&["token", "after the loss"], &data);
    let text = String::from_utf8(made.stdout).unwrap();
    let secret = text
        .trim_end()
        .strip_prefix("admin token (shown once): ")
        .unwrap();
    let process = Process::start(folder.path(), "");
    assert!(process.token().is_none());
    let listed = client
        .get(format!("{}/v1/tokens", process.url()))
        .bearer_auth(secret);
    let listed = listed.send().await.unwrap().text().await.unwrap();
    assert!(
        listed.contains("after the loss") && !listed.contains("first admin"),
        "{listed}"
    );
}

#[test]
fn a_second_registry_in_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Process::start(folder.path(), "");
    let second = Command::new(env!("CARGO_BIN_EXE_assay-server"))
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("found another registry"),
        "{second:?}"
    );
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    std::fs::write(&file, "[storage]\nurrl = 's3://x'\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_assay-server"))
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("urrl") && text.contains("server.toml"), "{text}");
}

/// Killed while bytes come in, while they are hashed, wherever it happens to be: nothing that was counted is lost.
#[tokio::test]
async fn a_process_killed_at_any_moment_loses_nothing_it_counted() {
    let bytes = sample(48 * MIB);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let registry = Registry::start(&data).await;
    let acme = registry
        .namespace("acme", assay_schema::api::Visibility::Public)
        .await;
    let token = registry.token.clone();
    registry.running.stop().await.unwrap();

    let (mut counted, mut offsets) = (0, Vec::new());
    for milliseconds in [5, 40, 80, 120, 160, 240] {
        let mut process = Process::start(folder.path(), "");
        let client = reqwest::Client::new();
        let uploads = format!("{}/v1/namespaces/acme/uploads", process.url());
        let body = serde_json::json!({ "sha256": sha256(&bytes), "size": bytes.len() });
        let answer = client
            .post(&uploads)
            .bearer_auth(&token)
            .json(&body)
            .send()
            .await
            .unwrap();
        let info: UploadInfo = answer.json().await.unwrap();
        assert!(
            info.offset >= counted,
            "{} after {counted} were counted",
            info.offset
        );
        counted = info.offset;
        offsets.push(info.offset);
        let Some(id) = info.id else { break };
        let patch = client
            .patch(format!("{uploads}/{id}"))
            .bearer_auth(&token)
            .header("Upload-Offset", info.offset)
            .body(bytes.slice(info.offset as usize..));
        let sending = tokio::spawn(patch.send());
        tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        let _ = sending.await.unwrap();
    }
    let registry = Registry::with(open(config(&data)).await, Some(token)).await;
    assert!(registry.upload(&acme, &bytes).await.complete, "{offsets:?}");
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
    registry.running.stop().await.unwrap();
}

/// The process dies behind each step of an upload; the next process goes on from what is on the disk.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_process_killed_behind_any_step_goes_on() {
    use assay_server::steps::Step;

    let bytes = sample(17 * MIB);
    for step in Step::UPLOAD {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        // Another namespace has the bytes, so that U6 is a step of this upload.
        let registry = Registry::start(&data).await;
        let acme = registry
            .namespace("acme", assay_schema::api::Visibility::Public)
            .await;
        let other = registry
            .namespace("other", assay_schema::api::Visibility::Public)
            .await;
        registry.upload(&acme, &bytes).await;
        let token = registry.token.clone();
        registry.running.stop().await.unwrap();

        let mut process = Process::start(folder.path(), &format!("[testing]\nstop_after = '{step:?}'\n"));
        let client = reqwest::Client::new();
        let uploads = format!("{}/v1/namespaces/other/uploads", process.url());
        let body = serde_json::json!({ "sha256": sha256(&bytes), "size": bytes.len() });
        let answer = client.post(&uploads).bearer_auth(&token).json(&body).send().await;
        if let Ok(answer) = answer {
            let info: UploadInfo = answer.json().await.unwrap();
            let patch = client.patch(format!("{uploads}/{}", info.id.unwrap()));
            let patch = patch
                .bearer_auth(&token)
                .header("Upload-Offset", 0)
                .body(bytes.clone());
            assert!(
                patch.send().await.is_err(),
                "{step:?}: the process should have died"
            );
        }
        let died = process.child.wait().unwrap();
        assert!(!died.success(), "{step:?}");

        let registry = Registry::with(open(config(&data)).await, Some(token)).await;
        assert!(registry.upload(&other, &bytes).await.complete, "{step:?}");
        assert_eq!(
            registry.stored(&other, &sha256(&bytes)).await.unwrap(),
            bytes,
            "{step:?}"
        );
        registry.running.stop().await.unwrap();
    }
}
