//! A new address for a browser.

use crate::{exit::Failure, show::Out};
use flotilla_remote::Boot;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

pub(crate) async fn open(home: &Path, out: Out) -> Result<(), Failure> {
    let boot = Boot::read(home)?;
    let failed = |error: String| {
        Failure::other(format!(
            "failed to get a one-time address from {}: {error}",
            boot.url
        ))
    };
    // The engine is on this machine: a proxy of the environment is none of its business.
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build();
    let request = http
        .map_err(|e| failed(e.to_string()))?
        .post(format!("{}/api/v1/key", boot.url))
        .bearer_auth(&boot.token);
    let answer = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|e| failed(e.without_url().to_string()))?;
    let answer: Value = answer.json().await.map_err(|e| failed(e.to_string()))?;
    let key = answer["key"]
        .as_str()
        .ok_or_else(|| failed("the answer has no key".into()))?;
    let address = format!("{}/?t={key}", boot.url);
    out.json_or(&json!({ "url": address }), || format!("{address}\n"))
}
