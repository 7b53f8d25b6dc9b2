//! Nodes, shares and keys.

use super::{Builder, domain, parsed, said, text_prop, texts};
use crate::config::document::{Entry, Node as Statement};
use crate::config::values::user_and_host;
use crate::model::Name;
use crate::model::topology::{
    Agent, Container, Dataset, Key, Node, Reach, Share, Squash, SshReach,
};

impl Builder<'_> {
    pub(super) fn node(&mut self, name: &Name, node: &Statement) -> Option<Node> {
        let reach = match (node.child("ssh"), node.child("local")) {
            (Some(ssh), Some(local)) => {
                let (first, second) = if ssh.span < local.span {
                    (ssh, local)
                } else {
                    (local, ssh)
                };
                self.conflict(
                    node,
                    first,
                    second,
                    "a node is this machine, or it is reached over SSH",
                );
                return None;
            }
            (Some(ssh), None) => Reach::Ssh(self.ssh(ssh)?),
            (None, Some(_)) => Reach::Local,
            (None, None) => {
                self.missing(
                    node,
                    "how it is reached",
                    "add `ssh \"user@host\"`, or `local` for the machine bkpctl runs on",
                );
                return None;
            }
        };
        let mut reserve = std::collections::BTreeMap::new();
        for statement in node.all("reserve") {
            let path = self.path_on(name.as_str(), statement.args().next());
            if let (Some(path), Some(amount)) = (path, parsed(statement.args().nth(1))) {
                reserve.insert(path, amount);
            }
        }
        let scratch = node.child("scratch").and_then(|s| s.args().next());
        Some(Node {
            reach,
            container: node.child("container").and_then(container),
            domain: domain(node),
            reserve,
            scratch: self.path_on(name.as_str(), scratch),
            reader: node.child("reader").is_some(),
            agent: self.agent(name, node),
            dedup_with: said(node, "dedup-with"),
            declared: self.declared(node),
        })
    }

    fn ssh(&mut self, ssh: &Statement) -> Option<SshReach> {
        let (user, host) = user_and_host(ssh.text(0)?);
        let identity_file = ssh.child("identity-file").and_then(|s| s.args().next());
        Some(SshReach {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            user: user.map(str::to_owned),
            port: ssh.prop("port").and_then(Entry::number),
            host_keys: texts(ssh, "host-key")
                .iter()
                .map(|key| {
                    key.split_ascii_whitespace()
                        .take(2)
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect(),
            identity_file: self.path_beside(identity_file),
            jump: said(ssh, "jump"),
            sudo: ssh.child("become").is_some(),
        })
    }

    fn agent(&mut self, name: &Name, node: &Statement) -> Agent {
        let Some(statement) = node.child("agent") else {
            return Agent::Default;
        };
        let path = self.path_on(name.as_str(), statement.prop("path"));
        match (statement.text(0), path) {
            (Some("none"), None) => Agent::None,
            (None, Some(path)) => Agent::Path(path),
            (None, None) if statement.prop("path").is_none() => {
                self.missing(
                    statement,
                    "where",
                    "write `agent path=\"…\"` or `agent \"none\"`",
                );
                Agent::Default
            }
            (Some(_), Some(_)) => {
                self.conflict(node, statement, statement, "keep \"none\" or the path");
                Agent::Default
            }
            _ => Agent::Default,
        }
    }

    pub(super) fn share(&mut self, _: &Name, node: &Statement) -> Option<Share> {
        let on: Name = parsed(node.prop("on"))?;
        let export = self.path_on(
            on.as_str(),
            node.child("export").and_then(|s| s.args().next()),
        );
        let squash = match (node.child("maproot"), node.child("mapall")) {
            (Some(root), Some(all)) => {
                self.conflict(
                    node,
                    root,
                    all,
                    "ids are replaced in one way: keep maproot or mapall",
                );
                return None;
            }
            (Some(root), None) => Squash::MapRoot {
                user: text_prop(root, "user")?,
                group: text_prop(root, "group"),
            },
            (None, Some(all)) => Squash::MapAll(parsed(all.args().next())?),
            (None, None) => Squash::Root,
        };
        let dataset = node.child("dataset").and_then(|statement| {
            Some(Dataset {
                name: statement.text(0)?.to_owned(),
                quota: parsed(statement.prop("quota")),
            })
        });
        let clients = node.all("clients").flat_map(Statement::args);
        let clients = clients.filter_map(|client| self.plain(client)).collect();
        let address = node.child("address").and_then(|s| s.args().next());
        let address = address.and_then(|address| self.plain(address));
        Some(Share {
            on,
            export: export?,
            squash,
            owner: self.owner(node),
            mode: Self::owner_mode(node),
            dataset,
            clients,
            address,
            declared: self.declared(node),
        })
    }

    pub(super) fn key(&mut self, _: &Name, node: &Statement) -> Option<Key> {
        Some(Key {
            file: self.path_beside(node.child("file")?.args().next())?,
            create: node.child("create").is_some(),
            declared: self.declared(node),
        })
    }
}

fn container(statement: &Statement) -> Option<Container> {
    Some(Container {
        id: statement.args().next()?.number()?,
        on: parsed(statement.prop("on"))?,
        privileged: statement.prop("kind")?.text()? == "privileged",
        idmap: texts(statement, "idmap"),
    })
}
