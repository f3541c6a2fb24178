//! What is printed of the daemon's answers: tables, templates, inspections, errors, help.

use crate::fake_api::{Recorded, Reply};
use crate::golden::World;

fn world() -> World {
    World::new(&[], answer)
}

fn answer(request: &Recorded) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let text = match (request.method.as_str(), path) {
        ("GET", "/containers/json") => include_str!("answers/containers.json"),
        ("GET", "/containers/web/json") => include_str!("answers/container.json"),
        ("GET", "/images/json") => include_str!("answers/images.json"),
        ("GET", "/images/busybox/json") => include_str!("answers/image.json"),
        ("GET", "/images/busybox/history") => include_str!("answers/history.json"),
        ("GET", "/networks") => include_str!("answers/networks.json"),
        ("GET", "/networks/bridge") => include_str!("answers/network.json"),
        ("GET", "/volumes") => include_str!("answers/volumes.json"),
        ("GET", "/events") => include_str!("answers/events.json"),
        ("GET", "/containers/web/top") => {
            r#"{"Titles":["UID","PID","CMD"],"Processes":[["root","1","sleep 1000"],["root","1234567","x"]]}"#
        }
        ("GET", "/info") => include_str!("answers/info.json"),
        ("DELETE", "/images/busybox") => {
            r#"[{"Untagged":"busybox:latest"},{"Deleted":"sha256:0123"}]"#
        }
        ("POST", "/containers/web/wait") => r#"{"StatusCode":3}"#,
        ("POST", "/containers/prune") => {
            r#"{"ContainersDeleted":["a","b"],"SpaceReclaimed":1234567}"#
        }
        ("POST", "/images/prune") => {
            r#"{"ImagesDeleted":[{"Untagged":"x:1"},{"Deleted":"sha256:ab"}],"SpaceReclaimed":5000}"#
        }
        (
            "POST",
            "/containers/web/stop"
            | "/containers/web/kill"
            | "/containers/web/restart"
            | "/containers/web/pause"
            | "/containers/web/unpause"
            | "/containers/web/rename"
            | "/containers/web/start",
        )
        | ("DELETE", "/containers/web") => return Reply::Json(204, String::new()),
        ("POST", "/images/busybox/tag") => return Reply::Json(201, String::new()),
        ("POST", "/containers/web/update") => r#"{"Warnings":["a warning"]}"#,
        ("GET", "/images/get") => return Reply::Bytes(200, "application/x-tar", b"tar".to_vec()),
        ("GET", "/containers/web/export") => {
            return Reply::Bytes(200, "application/x-tar", b"tar".to_vec());
        }
        ("POST", "/images/create") => {
            let progress = concat!(
                r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
                "\r\n",
                r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a1"}"#,
                "\r\n",
                r#"{"status":"Downloading","progressDetail":{"current":10,"total":20},"progress":"x","id":"a1"}"#,
                "\r\n",
                r#"{"status":"Pull complete","progressDetail":{},"id":"a1"}"#,
                "\r\n",
                r#"{"status":"Digest: sha256:0123"}"#,
                "\r\n",
                r#"{"status":"Status: Downloaded newer image for busybox:latest"}"#,
                "\r\n",
            );
            return Reply::Bytes(200, "application/json", progress.as_bytes().to_vec());
        }
        ("POST", "/images/load") => r#"{"stream":"Loaded image: busybox:latest\n"}"#,
        _ => {
            let name = path.split('/').nth(2).unwrap_or_default();
            let kind = path
                .split('/')
                .nth(1)
                .unwrap_or_default()
                .trim_end_matches('s');
            return Reply::Json(404, format!(r#"{{"message":"No such {kind}: {name}"}}"#));
        }
    };
    Reply::Json(200, text.to_owned())
}

#[test]
fn answers_are_shown_as_docker_shows_them() {
    world().compare("lists.json", LISTS);
}

#[test]
fn wrong_command_lines_are_refused_in_dockers_words() {
    world().compare("usage.json", USAGE);
}

const LISTS: &[&[&str]] = &[
    &[
        "ps",
        "--no-trunc",
        "--format",
        "table {{.ID}}\t{{.Names}}\t{{.Image}}\t{{.Command}}\t{{.Ports}}\t{{.State}}",
    ],
    &[
        "ps",
        "-a",
        "--format",
        "table {{.Names}}\t{{.Status}}\t{{.Labels}}\t{{.Label \"com.example.a\"}}\t{{.Mounts}}\t{{.LocalVolumes}}\t{{.Size}}",
    ],
    &["ps", "-aq"],
    &[
        "ps",
        "-n",
        "2",
        "-f",
        "status=exited",
        "--filter",
        "label=a=b",
        "-q",
        "--no-trunc",
    ],
    &["ps", "-l", "-q"],
    &["ps", "-s", "--format", "{{.Names}} {{.Size}}"],
    &["ps", "--format", "{{.CreatedAt}}|{{.Image}}|{{.Networks}}"],
    &["ps", "--format", "{{.Nope}}"],
    &["ps", "--format", "{{.Names"],
    &[
        "ps",
        "--format",
        "{{upper .Names}} {{join (split .Ports \",\") \"/\"}} {{pad .ID 2 2}}x{{truncate .Image 3}}",
    ],
    &[
        "ps",
        "--format",
        "{{if eq .State \"running\"}}up{{else}}down{{end}} {{printf \"%-10s|\" .Names}}",
    ],
    &["ps", "-q", "--format", "{{.Names}}"],
    &[
        "container",
        "ls",
        "--format",
        "{{range $i, $p := split .Ports \", \"}}{{$i}}={{$p}};{{end}}",
    ],
    &[
        "images",
        "--format",
        "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}",
    ],
    &["images", "-q"],
    &[
        "images",
        "--no-trunc",
        "--digests",
        "--format",
        "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}",
    ],
    &[
        "images",
        "--format",
        "{{.CreatedAt}} {{.VirtualSize}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}",
        "busybox",
    ],
    &["image", "ls", "-a", "-f", "dangling=true", "-q"],
    &["history", "--no-trunc", "--human=false", "busybox"],
    &[
        "history",
        "--format",
        "{{.ID}} {{.CreatedBy}} {{.Size}} {{.Comment}}",
        "busybox",
    ],
    &["history", "-q", "busybox"],
    &["inspect", "web"],
    &["inspect", "busybox"],
    &["inspect", "bridge"],
    &["inspect", "nothing"],
    &["inspect", "web", "nothing", "busybox", "-f", "{{.Id}}"],
    &["inspect", "--type", "image", "web"],
    &["inspect", "--type", "x", "web"],
    &[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{json .Config.Env}} {{json .NetworkSettings.Ports}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{range .Config.Env}}{{println .}}{{end}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{.NetworkSettings.Networks.bridge.IPAddress}} {{index .Config.Labels \"com.example.a\"}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{if .State.Health}}health{{else}}none{{end}} {{len .Mounts}} {{.HostConfig.Memory}}",
        "web",
    ],
    &["inspect", "-f", "{{.Nope}}", "web"],
    &["inspect", "-f", "{{.State.Nope}}", "web"],
    &["inspect", "-f", "{{", "web"],
    &["inspect", "-f", "json", "web"],
    &["container", "inspect", "nothing"],
    &[
        "container",
        "inspect",
        "--size",
        "web",
        "--format",
        "{{.Name}}",
    ],
    &[
        "image",
        "inspect",
        "busybox",
        "-f",
        "{{.RepoTags}} {{.Os}}/{{.Architecture}} {{.Size}}",
    ],
    &["network", "ls"],
    &["network", "ls", "-q", "--no-trunc"],
    &[
        "network",
        "ls",
        "--format",
        "{{.Name}} {{.Internal}} {{.IPv6}} {{json .Labels}}",
    ],
    &[
        "network",
        "inspect",
        "bridge",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
    ],
    &["volume", "ls"],
    &[
        "volume",
        "ls",
        "--format",
        "{{.Name}} {{.Mountpoint}} {{.Size}}",
    ],
    &["top", "web"],
    &["top", "web", "-o", "pid"],
    &["port", "web"],
    &["port", "web", "80"],
    &["port", "web", "99"],
    &["port", "web", "x"],
    &["events", "--until", "1700000100", "--since", "1700000000"],
    &[
        "events",
        "--until",
        "1700000100",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.ID}}",
    ],
    &[
        "events",
        "--until",
        "1700000100",
        "--format",
        "json",
        "--filter",
        "type=container",
    ],
    &["events", "--format", "{{.Nope}}"],
    &[
        "info",
        "--format",
        "{{.ServerVersion}} {{.Driver}} {{.NCPU}} {{json .SecurityOptions}}",
    ],
    &["stop", "web"],
    &["stop", "-t", "5", "-s", "INT", "web", "nothing"],
    &["restart", "--time", "1", "web"],
    &["kill", "-s", "HUP", "web"],
    &["kill", "nothing", "web", "more"],
    &["pause", "web"],
    &["unpause", "web"],
    &["rename", "web", "other"],
    &["rename", "nothing", "other"],
    &["rename", " ", "x"],
    &["start", "web", "nothing"],
    &["rm", "web"],
    &["rm", "-fv", "web", "nothing", "/"],
    &["rm", "nothing"],
    &["wait", "web", "nothing"],
    &["container", "prune", "-f", "--filter", "until=1h"],
    &["container", "prune"],
    &["image", "prune", "-af"],
    &["rmi", "busybox", "nothing"],
    &["rmi", "-f", "nothing"],
    &["tag", "busybox", "a/b:c"],
    &["tag", "busybox", "localhost:5000/x"],
    &["tag", "busybox", "A"],
    &["tag", "-x", "y"],
    &["save", "busybox", "alpine"],
    &["save", "-o", "out.tar", "busybox"],
    &["save", "-o", "none/out.tar", "busybox"],
    &["export", "-o", "out.tar", "web"],
    &["load", "-i", "none.tar"],
    &["load"],
    &["import", "none.tar"],
    &["import", "http://x.example/y.tar", "r:t"],
    &[
        "import", "-m", "msg", "-c", "ENV A=b", "-c", "CMD x", "-", "r",
    ],
    &["pull", "busybox"],
    &["pull", "-q", "busybox:1.0"],
    &["pull", "-a", "busybox:1.0"],
    &[
        "pull",
        "host:5000/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
    &["update", "--memory", "64m", "--restart", "always", "web"],
    &["update", "web"],
    &["logs", "nothing"],
    &["attach", "nothing"],
    &["exec", "nothing", "true"],
];

const USAGE: &[&[&str]] = &[
    &["foo"],
    &["container", "foo"],
    &["image", "foo"],
    &["--nosuch"],
    &["ps", "extra"],
    &["ps", "--nosuch"],
    &["ps", "-x"],
    &["ps", "--filter"],
    &["ps", "--filter", "abc"],
    &["ps", "-n", "x"],
    &["rename", "a"],
    &["logs"],
    &["logs", "--since", "never", "web"],
    &["stop", "-t", "x", "y"],
    &["stop"],
    &["top"],
    &["tag", "x"],
    &["port"],
    &["port", "a", "b", "c"],
    &["exec", "x"],
    &["inspect"],
    &["inspect", "--type=", "x"],
    &["events", "x"],
    &["info", "x"],
    &["version", "x"],
    &["version", "-f", "{{"],
    &["import"],
    &["save"],
    &["load", "x"],
    &["-H", "gopher://x", "ps"],
];
