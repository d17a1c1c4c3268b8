//! Who talks to whom over mutual TLS: roots, names, times, files that change.

use rcgen::{Certificate, ExtendedKeyUsagePurpose};

use super::*;

const SHOP: &str = "words.shop.topology.waterspout.dev";
const SEARCH: &str = "words.search.topology.waterspout.dev";

/// When a leaf is valid.
#[derive(Clone, Copy)]
enum Valid {
    Now,
    Once,
    Later,
}

pub(super) struct Root {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Root {
    pub(super) fn new(name: &str) -> Self {
        // Another test in this process may have installed it: the same provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        Self {
            issuer: issuer.expect("an authority"),
        }
    }

    fn leaf(&self, name: &str, valid: Valid) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let years = match valid {
            Valid::Now => (2000, 4000),
            Valid::Once => (2000, 2001),
            Valid::Later => (3999, 4000),
        };
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }
}

/// A worker's files.
pub(super) struct Files {
    _directory: TempDir,
    pub(super) tls: TlsFiles,
}

impl Files {
    /// With a leaf of `root` for `name`, and as the one who trusts `root` and talks to workers of `name`.
    pub(super) fn new(root: &Root, name: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = |file: &str| directory.path().join(file);
        let tls = TlsFiles {
            cert: path("tls.crt"),
            key: path("tls.key"),
            ca: path("ca.crt"),
            name: name.to_owned(),
        };
        let files = Self {
            _directory: directory,
            tls,
        };
        files.show(root, name, Valid::Now);
        files.trust(&[root]);
        files
    }

    fn show(&self, root: &Root, name: &str, valid: Valid) {
        let (cert, key) = root.leaf(name, valid);
        std::fs::write(&self.tls.cert, cert.pem()).expect("it can be written");
        std::fs::write(&self.tls.key, key.serialize_pem()).expect("it can be written");
    }

    fn trust(&self, roots: &[&Root]) {
        let bundle: String = roots.iter().map(|root| root.issuer.pem()).collect();
        std::fs::write(&self.tls.ca, bundle).expect("it can be written");
    }
}

/// Asks for a state, on a connection of its own.
async fn ask(here: &Transport, there: &Transport, is_plain: bool) -> Result<Vec<u8>, String> {
    here.take_state(there.address(), is_plain, "before", 1, 7).await
}

/// Waits until more than these were refused: a caller may try a second time by itself.
async fn refused(transport: &Transport, before: u64) {
    let counted = tokio::time::timeout(PATIENCE, async {
        while transport.refused() <= before {
            tokio::task::yield_now().await;
        }
    });
    counted.await.expect("what is refused is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_show_that_it_is_of_this_topology_is_refused_and_counted() {
    let (root, other) = (Root::new("one"), Root::new("other"));
    let (there, _) = start(id(1, 1), Some(Files::new(&root, SHOP).tls.clone())).await;
    let files = Files::new(&root, SHOP);
    let (here, _) = start(id(0, 1), Some(files.tls.clone())).await;
    let strangers: [(&str, &Root, &str, Valid); 4] = [
        ("another root", &other, SHOP, Valid::Now),
        ("another topology", &root, SEARCH, Valid::Now),
        ("a certificate that has ended", &root, SHOP, Valid::Once),
        ("a certificate that is not valid yet", &root, SHOP, Valid::Later),
    ];
    // The files of the one who is called are gone by now: it goes on with what it has read.
    for (what, root, name, valid) in strangers {
        files.show(root, name, valid);
        let before = there.refused();
        let answer = ask(&here, &there, false).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        refused(&there, before).await;
    }
    let before = there.refused();
    let answer = ask(&here, &there, true).await;
    assert!(answer.is_err(), "in the clear: {answer:?}");
    refused(&there, before).await;
    files.show(&root, SHOP, Valid::Now);
    assert_eq!(ask(&here, &there, false).await, Ok(vec![7; 3 << 20]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_talks_to_nobody_who_does_not_show_that_it_is_of_this_topology() {
    let (root, other) = (Root::new("one"), Root::new("other"));
    let files = Files::new(&root, SHOP);
    let (there, _) = start(id(1, 1), Some(files.tls.clone())).await;
    let (here, _) = start(id(0, 1), Some(Files::new(&root, SHOP).tls.clone())).await;
    let strangers: [(&Root, &str, Valid, &str); 3] = [
        (&other, SHOP, Valid::Now, "UnknownIssuer"),
        (&root, SEARCH, Valid::Now, "not valid for name"),
        (&root, SHOP, Valid::Once, "expired"),
    ];
    for (root, name, valid, why) in strangers {
        files.show(root, name, valid);
        let answer = ask(&here, &there, false).await;
        assert!(
            answer.as_ref().is_err_and(|error| error.contains(why)),
            "{why}: {answer:?}"
        );
    }
    // It was the caller who ended these.
    assert_eq!(there.refused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_root_follows_another_and_connections_go_on() {
    let (old, new) = (Root::new("old"), Root::new("new"));
    let (here, there) = (Files::new(&old, SHOP), Files::new(&old, SHOP));
    let (sender, sending) = start(id(0, 1), Some(here.tls.clone())).await;
    let (receiver, receiving) = start(id(1, 1), Some(there.tls.clone())).await;
    sender.set_peer(WorkerIndex(1), receiver.address());
    sending.wait("a connection", |seen| seen.up == [id(1, 1)]).await;
    let steps: [(&str, &dyn Fn()); 7] = [
        ("one trusts both", &|| there.trust(&[&old, &new])),
        ("the other does, too", &|| here.trust(&[&old, &new])),
        ("one shows the new", &|| there.show(&new, SHOP, Valid::Now)),
        ("the other does, too", &|| here.show(&new, SHOP, Valid::Now)),
        ("one forgets the old", &|| there.trust(&[&new])),
        ("the other does, too", &|| here.trust(&[&new])),
        ("files that make no sense change nothing", &|| {
            std::fs::write(&there.tls.cert, "nothing").expect("it can be written");
            std::fs::remove_file(&here.tls.key).expect("it is there");
        }),
    ];
    for (number, (what, step)) in (1..).zip(steps) {
        step();
        assert_eq!(
            ask(&sender, &receiver, false).await,
            Ok(vec![7; 3 << 20]),
            "{what}"
        );
        sender.send_entries(WorkerIndex(1), &[entry(number)]);
        receiving
            .wait(what, |seen| seen.entries.last() == Some(&number))
            .await;
    }
    let seen = sending.wait("nothing", |_| true).await;
    assert_eq!((seen.up.len(), seen.down), (1, Vec::new()));
    assert_eq!(receiver.refused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_taken_over_from_a_revision_that_knows_no_tls() {
    let root = Root::new("one");
    let (here, _) = start(id(0, 1), Some(Files::new(&root, SHOP).tls.clone())).await;
    let (there, _) = start(id(1, 1), None).await;
    assert_eq!(ask(&here, &there, true).await, Ok(vec![7; 3 << 20]));
    let answer = ask(&here, &there, false).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_said_at_the_start() {
    let root = Root::new("one");
    let (files, other) = (Files::new(&root, SHOP), Files::new(&root, SHOP));
    let faults: [(&dyn Fn(), &str); 3] = [
        (
            &|| {
                std::fs::copy(&other.tls.key, &files.tls.key).expect("it can be written");
            },
            "use the certificate, the key and the authority that were given",
        ),
        (
            &|| std::fs::write(&files.tls.ca, "").expect("it can be written"),
            "use the certificate, the key and the authority that were given",
        ),
        (
            &|| std::fs::remove_file(&files.tls.ca).expect("it is there"),
            "ca.crt",
        ),
    ];
    for (fault, why) in faults {
        fault();
        let listen = ([127, 0, 0, 1], 0).into();
        let config = TransportConfig::new(id(0, 1), "test", listen, Some(files.tls.clone()));
        let started = Transport::start(config, Recorder::new()).await;
        let error = started.err().expect("they cannot be used").to_string();
        assert!(error.contains(why), "{error}");
    }
}
