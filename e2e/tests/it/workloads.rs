//! What the controllers make: a Deployment that scales and rolls, a Job that completes.

use anyhow::{Context, ensure};
use e2e::pods;
use e2e::suite::PATIENCE;
use e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::on_cluster;

/// For curl: nginx has no probe, so its pod is Ready before it listens.
const AGAIN: [&str; 5] = ["--retry", "30", "--retry-delay", "1", "--retry-connrefused"];

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - {name: nginx, image: '@nginx-1', ports: [{containerPort: 80}]}
";

#[test]
fn deployment_scales_and_rolls() {
    on_cluster("deployment_scales_and_rolls", async |test| {
        let pods = test.pods();
        let live = |pods: &[Pod], count: usize| {
            pods.len() == count && pods.iter().all(|pod| pods::holds(pod, "Ready"))
        };
        let serve = |pods: &[Pod], version: &str| -> anyhow::Result<()> {
            for pod in pods {
                let url = format!("http://{}/", pods::address(pod));
                let page = test.suite.node.network().run(
                    ["curl", "-sSf", "--max-time", "10"]
                        .into_iter()
                        .chain(AGAIN)
                        .chain([url.as_str()]),
                )?;
                ensure!(
                    page == format!("Welcome to nginx! version {version}\n"),
                    "{url}: {page}"
                );
            }
            Ok(())
        };
        test.apply(DEPLOYMENT)?;
        test.kubectl
            .run(["rollout", "status", "deployment/web", "--timeout=180s"])?;
        let three = wait::objects(&pods, "app=web", PATIENCE, "three pods", |pods| live(pods, 3)).await?;
        serve(&three, "1")?;
        test.kubectl.run(["scale", "deployment/web", "--replicas=5"])?;
        wait::objects(&pods, "app=web", PATIENCE, "five pods", |pods| live(pods, 5)).await?;
        test.kubectl.run(["scale", "deployment/web", "--replicas=2"])?;
        wait::objects(&pods, "app=web", PATIENCE, "two pods", |pods| live(pods, 2)).await?;
        let second = e2e::registry::Registry::reference("nginx-2");
        test.kubectl
            .run(["set", "image", "deployment/web", &format!("nginx={second}")])?;
        test.kubectl
            .run(["rollout", "status", "deployment/web", "--timeout=180s"])?;
        let rolled = |pods: &[Pod]| {
            live(pods, 2)
                && pods.iter().all(|pod| {
                    pod.spec
                        .as_ref()
                        .is_some_and(|spec| spec.containers[0].image.as_ref() == Some(&second))
                })
        };
        let two = wait::objects(
            &pods,
            "app=web",
            PATIENCE,
            "two pods of the second version",
            rolled,
        )
        .await?;
        serve(&two, "2")?;
        let deployment = Api::<Deployment>::namespaced(test.client.clone(), &test.namespace)
            .get("web")
            .await?;
        let status = deployment.status.context("no status")?;
        ensure!(
            status.available_replicas == Some(2) && status.updated_replicas == Some(2),
            "{status:?}"
        );
        Ok(())
    });
}

#[test]
fn job_completes() {
    on_cluster("job_completes", async |test| {
        test.apply(
            "
apiVersion: batch/v1
kind: Job
metadata: {name: sums}
spec:
  completions: 4
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: OnFailure
      containers:
      - {name: sum, image: '@busybox', command: [sh, -c, 'echo $((JOB_COMPLETION_INDEX * 100 + 1))']}
",
        )?;
        let jobs = Api::<Job>::namespaced(test.client.clone(), &test.namespace);
        let complete = |job: Option<&Job>| {
            let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|list| {
                list.iter()
                    .any(|one| one.type_ == "Complete" && one.status == "True")
            })
        };
        let job = wait::object(&jobs, "sums", PATIENCE, "the job completes", complete)
            .await?
            .context("the job is gone")?;
        ensure!(
            job.status.as_ref().and_then(|status| status.succeeded) == Some(4),
            "{:?}",
            job.status
        );
        let logs = test.kubectl.run(["logs", "-l", "job-name=sums", "--tail=-1"])?;
        let mut lines: Vec<&str> = logs.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["1", "101", "201", "301"], "{lines:?}");
        Ok(())
    });
}
