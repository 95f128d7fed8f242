use super::*;

#[test]
fn what_is_no_data_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = audit(folder.path()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("data folder"), "{error}");
}
