//! Images: pulled from a real registry, found, listed, removed.

use std::path::Path;

use cri_api::v1 as cri;
use e2e::registry::Registry;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::node::{Cri, FOREVER, busybox, container_config, on_node, on_own_node, sandbox_config};

fn spec(image: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    })
}

impl Cri {
    async fn image(&mut self, name: &str) -> Option<cri::Image> {
        let request = cri::ImageStatusRequest {
            image: spec(name),
            verbose: true,
        };
        let answer = self.images.image_status(request).await.unwrap().into_inner();
        assert_eq!(answer.info.contains_key("info"), answer.image.is_some());
        answer.image
    }

    async fn list(&mut self, name: &str) -> Vec<cri::Image> {
        let filter = Some(cri::ImageFilter { image: spec(name) });
        let request = cri::ListImagesRequest {
            filter: filter.clone(),
        };
        let listed = self
            .images
            .list_images(request)
            .await
            .unwrap()
            .into_inner()
            .images;
        let request = cri::StreamImagesRequest { filter };
        let mut stream = self.images.stream_images(request).await.unwrap().into_inner();
        let mut streamed = Vec::new();
        while let Some(list) = stream.next().await {
            streamed.extend(list.unwrap().images);
        }
        let ids = |images: &[cri::Image]| {
            let mut ids: Vec<_> = images.iter().map(|image| image.id.clone()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&listed), ids(&streamed));
        listed
    }
}

#[test]
fn an_image_has_one_id_by_all_its_names() {
    on_node("an_image_has_one_id_by_all_its_names", async |mut cri| {
        let name = Registry::reference("nonroot");
        assert_eq!(cri.image("127.0.0.1:5000/absent:1").await, None);
        let id = cri.pull(&name).await;
        let image = cri.image(&name).await.unwrap();
        assert_eq!(image.id, id);
        assert_eq!(image.repo_tags, std::slice::from_ref(&name));
        assert!(image.size > 0);
        assert_eq!((image.uid, image.username.as_str()), (None, "default-user"));
        let digest = image.repo_digests[0].clone();
        for other in [&id, &digest] {
            assert_eq!(cri.image(other).await.as_ref(), Some(&image), "{other}");
        }
        assert_eq!(cri.list(&name).await, std::slice::from_ref(&image));
        assert_eq!(cri.list("127.0.0.1:5000/absent:1").await, []);
        assert!(cri.list("").await.contains(&image));
    });
}

#[test]
fn a_pull_that_fails_says_whose_fault_it_is() {
    on_node("a_pull_that_fails_says_whose_fault_it_is", async |mut cri| {
        let mut pull = async |image: &str, auth| {
            let request = cri::PullImageRequest {
                image: spec(image),
                auth,
                ..Default::default()
            };
            cri.images.pull_image(request).await.unwrap_err()
        };
        let absent = pull("127.0.0.1:5000/no-such-image:1", None).await;
        assert_eq!(absent.code(), Code::NotFound, "{absent:?}");
        // Nobody listens there.
        let away = pull("127.0.0.1:1/any:1", None).await;
        assert_eq!(away.code(), Code::Unavailable, "{away:?}");
        assert!(away.message().starts_with("RegistryUnavailable: "), "{away:?}");
        let wrong = pull("::::", None).await;
        assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong:?}");
        let auth = cri::AuthConfig {
            auth: "?".into(),
            ..Default::default()
        };
        let auth = pull("127.0.0.1:5000/busybox:1", Some(auth)).await;
        assert!(auth.message().starts_with("auth.auth: "), "{auth:?}");
    });
}

#[test]
fn both_file_systems_are_told() {
    on_node("both_file_systems_are_told", async |mut cri| {
        cri.pull(&busybox()).await;
        let info = cri
            .images
            .image_fs_info(cri::ImageFsInfoRequest {})
            .await
            .unwrap()
            .into_inner();
        for usage in [&info.image_filesystems, &info.container_filesystems] {
            assert_eq!(usage.len(), 1);
            assert!(usage[0].timestamp > 0);
            let mountpoint = &usage[0].fs_id.as_ref().unwrap().mountpoint;
            assert!(Path::new(mountpoint).is_dir(), "{mountpoint}");
        }
        assert!(info.image_filesystems[0].used_bytes.unwrap().value > 0);
    });
}

#[test]
fn a_removed_image_is_gone_by_all_its_names_and_its_containers_run_on() {
    on_own_node(
        "a_removed_image_is_gone_by_all_its_names_and_its_containers_run_on",
        "removal",
        async |_, mut cri| {
            let sandbox_config = sandbox_config("removal");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let config = container_config("main", FOREVER);
            let container = cri.run_container(&sandbox, &config, &sandbox_config).await;
            let image = cri.image(&busybox()).await.unwrap();
            let request = cri::RemoveImageRequest {
                image: spec(&busybox()),
            };
            cri.images.remove_image(request.clone()).await.unwrap();
            cri.images.remove_image(request).await.unwrap();
            for name in [&busybox(), &image.id, &image.repo_digests[0]] {
                assert_eq!(cri.image(name).await, None, "{name}");
            }
            assert_eq!(cri.list("").await, []);
            let done = cri.exec(&container, &["echo", "still here"], 0).await.unwrap();
            assert_eq!(done.stdout, b"still here\n");
            cri.remove_sandbox(&sandbox).await;
        },
    );
}
