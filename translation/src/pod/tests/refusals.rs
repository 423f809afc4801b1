use super::*;

fn found(spec: &str, container: &str) -> Vec<(String, &'static str)> {
    refusals(&pod(spec, container))
        .into_iter()
        .map(|one| (one.field, one.status_reason))
        .collect()
}

#[test]
fn everything_is_found_at_once() {
    let refused = found(
        "  runtimeClassName: gvisor
  os: { name: windows }
  volumes:
  - { name: a, persistentVolumeClaim: { claimName: c } }
  - { name: b, csi: { driver: d } }",
        "    livenessProbe: { grpc: { port: 1 } }
    securityContext: { appArmorProfile: { type: RuntimeDefault } }
    volumeDevices: [{ name: a, devicePath: /dev/x }]
    restartPolicy: Always
    resources: { limits: { hugepages-2Mi: 4Mi } }",
    );
    let expected = [
        ("spec.containers[0].livenessProbe.grpc", "UnsupportedPod"),
        (
            "spec.containers[0].securityContext.appArmorProfile.type",
            "AppArmor",
        ),
        ("spec.containers[0].volumeDevices", "UnsupportedPod"),
        ("spec.os.name", "PodOSNotSupported"),
        ("spec.runtimeClassName", "UnsupportedPod"),
        ("spec.volumes[0].persistentVolumeClaim", "UnsupportedPod"),
        ("spec.volumes[1].csi", "UnsupportedPod"),
        ("spec.containers[0].restartPolicy", "UnsupportedPod"),
        (
            "spec.containers[0].resources.limits[hugepages-2Mi]",
            "UnsupportedPod",
        ),
    ];
    assert_eq!(
        refused,
        expected.map(|(field, reason)| (field.to_owned(), reason))
    );
}

#[test]
fn a_container_for_debugging_does_not_end_the_pod() {
    let pod = pod("  ephemeralContainers: [{ name: debug, image: busybox }]", "");
    let refusals = refusals(&pod);
    assert_eq!(refusals.len(), 1);
    assert!(!refusals[0].stops);
    assert!(to_aurae(&pod, &objects(), &node()).is_ok());
}

#[test]
fn the_old_annotation_of_a_profile_is_found() {
    let mut pod = pod("", "");
    let annotation = "container.apparmor.security.beta.kubernetes.io/main".to_owned();
    pod.metadata.annotations = Some([(annotation, "runtime/default".to_owned())].into());
    assert_eq!(refusals(&pod)[0].status_reason, "AppArmor");
}

#[test]
fn a_pod_needs_a_name_an_identity_and_an_image() {
    let fields: Vec<_> = problems(&yaml("{ spec: { containers: [{ name: a }] } }"))
        .into_iter()
        .map(|problem| problem.field)
        .collect();
    assert_eq!(
        fields,
        ["metadata.uid", "metadata.name", "spec.containers[0].image"]
    );
    let fields: Vec<_> = problems(&Pod::default())
        .into_iter()
        .map(|problem| problem.field)
        .collect();
    assert_eq!(
        fields,
        ["spec", "metadata.uid", "metadata.name", "spec.containers"]
    );
}

#[test]
fn bad_quantities_are_told_with_their_place() {
    let found = problems(&pod(
        "  volumes: [{ name: a, emptyDir: { sizeLimit: lots } }]",
        "    resources: { limits: { cpu: many, memory: -1Mi } }",
    ));
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "spec.volumes[0].emptyDir.sizeLimit: \"lots\" is not a quantity such as 500m, 2 or 1.5Gi",
        "spec.containers[0].resources.limits[cpu]: \"many\" is not a quantity such as 500m, 2 or 1.5Gi",
        "spec.containers[0].resources.limits[memory]: must not be negative",
        "spec.containers[0].resources.requests[cpu]: \"many\" is not a quantity such as 500m, 2 or 1.5Gi",
        "spec.containers[0].resources.requests[memory]: must not be negative",
    ];
    assert_eq!(found, expected);
}
