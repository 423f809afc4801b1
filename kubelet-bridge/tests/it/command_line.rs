//! What is wrong with a command line or a file is told in words that say what to do, and the program fails.

use std::net::TcpListener;

use crate::bridge::{Home, refusal};

#[test]
fn without_cluster_and_manifests_it_says_what_to_give() {
    let words = refusal(&mut Home::new().bridge());
    assert!(
        words.contains("neither --kubeconfig nor --pod-manifest-path"),
        "{words}"
    );
}

#[test]
fn an_unknown_flag_is_named() {
    let words = refusal(Home::new().bridge().arg("--no-such-flag"));
    assert!(words.contains("--no-such-flag"), "{words}");
}

#[test]
fn a_missing_kubeconfig_is_named() {
    let home = Home::new();
    let words = refusal(home.bridge().arg("--kubeconfig").arg(home.path("nowhere")));
    assert!(
        words.contains("nowhere") && words.contains("No such file"),
        "{words}"
    );
}

#[test]
fn a_kubeconfig_that_is_none_is_named() {
    let home = Home::new();
    for content in ["not: [yaml", "apiVersion: v1\nkind: Config\n", ""] {
        let path = home.write("kubeconfig", content);
        let words = refusal(home.bridge().arg("--kubeconfig").arg(path));
        assert!(
            words.contains("cannot use the kubeconfig"),
            "{content:?}: {words}"
        );
    }
}

#[test]
fn a_kubeconfig_without_credentials_says_which_are_wanted() {
    let home = Home::new();
    let content = fs_err::read_to_string(home.kubeconfig())
        .expect("read")
        .replace("token: abc", "{}");
    let path = home.write("kubeconfig", &content);
    let words = refusal(home.bridge().arg("--kubeconfig").arg(path));
    assert!(words.contains("names no credentials"), "{words}");
}

#[test]
fn a_certificate_of_another_node_says_so() {
    let home = Home::new();
    let path = home.kubeconfig_of("system:node:node-b");
    let words = refusal(home.bridge().arg("--kubeconfig").arg(path));
    assert!(words.contains("--hostname-override=node-b"), "{words}");
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let words = refusal(home.bridge_at(port).arg("--kubeconfig").arg(home.kubeconfig()));
    assert!(
        words.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{words}"
    );
}

#[test]
fn without_an_identity_it_says_how_to_make_one() {
    let home = Home::new();
    let words = refusal(home.bridge().arg("--kubeconfig").arg(home.kubeconfig()));
    assert!(words.contains("auraed identity issue"), "{words}");
}

#[test]
fn wrong_values_name_their_flag() {
    let home = Home::new();
    let config = home.kubeconfig();
    for (flag, value) in [
        ("--node-labels", "x"),
        ("--register-with-taints", "a=b:Never"),
        ("--system-reserved", "cpu=lots"),
        ("--node-ip", "0.0.0.0"),
        ("--node-status-update-frequency", "soon"),
    ] {
        let words = refusal(home.bridge().arg("--kubeconfig").arg(&config).args([flag, value]));
        assert!(words.contains(flag), "{flag} {value}: {words}");
    }
}
