//! What can be said of the operator's files for OpenCode without a run: that a run could read them and all that they refer
//! to. Asks nobody and starts nothing, so it costs nothing; what a reference leads to is never told.

use std::ffi::OsString;
use std::path::Path;

use domain::OpenCode;
use reqwest::Url;
use serde_json::Value;

use super::config::ConfigReader;
use super::running::RunningServers;

/// The names of the providers in the configuration at `path`, as a worker with these variables would read it. `Err`: why
/// it cannot be used.
pub fn check_config(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<String>, String> {
    let reader = ConfigReader::new(variables);
    let config = reader.read(path, &OpenCode::default(), Path::new("/"))?;
    if config.secrets.iter().any(|secret| secret.trim().is_empty()) {
        return Err("a variable or file that it refers to, or a key in it, is empty".to_owned());
    }
    let whole: Value = serde_json::from_str(&config.json)
        .map_err(|error| format!("it cannot be read again: {error}"))?;
    let mut names = Vec::new();
    for (name, provider) in whole["provider"].as_object().into_iter().flatten() {
        if let Some(url) = provider.pointer("/options/baseURL") {
            check_url(name, url)?;
        }
        names.push(name.clone());
    }
    Ok(names)
}

/// The URL itself may have a secret in it and is not shown.
fn check_url(provider: &str, url: &Value) -> Result<(), String> {
    let wrong =
        |why: &str| format!("the baseURL of its provider `{provider}` is no address: {why}");
    let text = url.as_str().ok_or_else(|| wrong("it is no text"))?;
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with http:// or https://"));
    }
    Ok(())
}

/// How many servers the list at `path` names, as a worker with these variables would read it. `Err`: why it cannot be used.
pub fn check_servers(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<usize, String> {
    RunningServers::new(path.to_owned(), variables).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opencode.json");
        std::fs::write(&path, text).unwrap();
        let variables = [("KEY", "the-secret-key"), ("EMPTY", "")];
        check_config(
            &path,
            variables.map(|(name, value)| (name.into(), value.into())),
        )
    }

    #[test]
    fn a_configuration_that_a_run_could_use_is_told_by_its_providers() {
        let text = r#"{"provider": {
            "near": {"options": {"baseURL": "http://127.0.0.1:9/v1", "apiKey": "{env:KEY}"}}, "far": {}}}"#;
        let mut names = check(text).unwrap();
        names.sort();
        assert_eq!(names, ["far", "near"]);
        assert_eq!(check("{}").unwrap(), [""; 0]);
    }

    #[test]
    fn what_a_run_would_lack_is_said_without_any_secret() {
        let provider =
            |options: &str| format!(r#"{{"provider": {{"a": {{"options": {options}}}}}}}"#);
        for (text, words) in [
            (provider(r#"{"apiKey": "{env:NONE}"}"#), "the variable NONE"),
            (
                provider(r#"{"apiKey": "{file:none}"}"#),
                "none cannot be read",
            ),
            (provider(r#"{"apiKey": "{env:EMPTY}"}"#), "is empty"),
            (
                provider(r#"{"baseURL": "x y{env:KEY}"}"#),
                "baseURL of its provider `a`",
            ),
            (provider(r#"{"baseURL": "ftp://{env:KEY}@x"}"#), "http://"),
            ("[]".to_owned(), "not a JSON object"),
        ] {
            let why = check(&text).unwrap_err();
            assert!(why.contains(words), "{why}");
            assert!(!why.contains("the-secret-key"), "{why}");
        }
        let gone = check_config(Path::new("/nowhere/opencode.json"), []).unwrap_err();
        assert!(
            gone.contains("/nowhere/opencode.json cannot be read"),
            "{gone}"
        );
    }
}
