//! What each finding's code means, for `bkpctl explain CODE`.
//!
//! Codes are stable: a code that is no longer found keeps its place and its meaning.
//! Mistakes in the file have the codes below BK100 and are explained by `config`.

/// The explanation of a finding's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code, such as `BK113`.
    pub code: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it matters and how it comes about.
    pub explanation: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Returns the explanation of a code.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES
        .binary_search_by(|known| known.code.cmp(code))
        .ok()
        .map(|at| &CODES[at])
}

const fn code(
    code: &'static str,
    title: &'static str,
    explanation: &'static str,
    remedy: &'static str,
) -> Code {
    Code {
        code,
        title,
        explanation,
        remedy,
    }
}

/// Every code, sorted.
pub const CODES: &[Code] = &[
    code(
        "BK101",
        "the datastore's path can't be looked at",
        "The login has no right to pass one of the folders on the way, so nothing can be said about what is there.",
        "Log in as root, add become \"sudo\" to the node, or open the way with chmod o+x.",
    ),
    code(
        "BK102",
        "the datastore's path did not answer in time",
        "Looking at a network mount whose server is gone hangs whoever tries. The probe gives up after a deadline instead.",
        "Bring the server back, or unmount the path.",
    ),
    code(
        "BK103",
        "a folder above the datastore is missing",
        "apply makes the last folder of a datastore and no other: a missing folder above it often means a typing error or a disk that is not mounted, and making it would fill the wrong disk.",
        "Make the folder, mount the disk, or correct the path.",
    ),
    code(
        "BK104",
        "the way to the datastore leads through something that is not a folder",
        "A file or device has the name of a folder on the way.",
        "Correct the path in the topology.",
    ),
    code(
        "BK105",
        "the datastore's path is not a folder",
        "A datastore is a folder. Something else has that name.",
        "Correct the path in the topology.",
    ),
    code(
        "BK106",
        "the owner can't pass a folder on the way",
        "To reach a file, its user needs the x right on every folder above it, also where the last folder belongs to that user. Without it every write fails with os error 13, although the datastore itself looks right.",
        "chmod o+x on that folder lets others pass and shows them no names. Where it has an access control list, shown by a +, an entry for the user does. Never chmod -R 777.",
    ),
    code(
        "BK107",
        "the datastore's folder can't be made",
        "The login may not write to the folder above, and has no root rights there.",
        "Make the folder as root with the owner and mode shown, or give the login root rights.",
    ),
    code(
        "BK108",
        "a mount over SMB says who owns everything",
        "Over SMB (cifs) owner and mode are what the options of the mount say: without uid= and gid= everything belongs to root. A writer who is somebody else gets os error 13 where he makes something and os error 1 where he touches what is there, as each backup does with chunks that are known already. A chown or chmod is ignored without a word, so none is planned. People then switch gc-atime-safety-check of Proxmox Backup Server off: never do, since a garbage collection that can't touch what is in use deletes it.",
        "Mount it with the writer's numbers: uid=34,gid=34, and dir_mode= and file_mode= as declared. The options count from the next mount on, not from a remount.",
    ),
    code(
        "BK109",
        "Proxmox Backup Server is locked out of its own folders",
        "Its proxy and its tasks run as the user backup and need /run/proxmox-backup, /var/lib/proxmox-backup, /var/log/proxmox-backup and the key /etc/proxmox-backup/authkey.pub. Where a restore, a copied container or a chown -R changed these, everything ends with os error 13, and people look for the cause in the datastore, which is right.",
        "Give them back with the commands shown, and restart proxmox-backup and proxmox-backup-proxy.",
    ),
    code(
        "BK110",
        "the filesystem is read-only",
        "Every write would fail with os error 30. Linux remounts a damaged filesystem read-only by itself, so look at the kernel's log before mounting it writable again.",
        "Find out why, repair it, then mount -o remount,rw.",
    ),
    code(
        "BK112",
        "nobody there can become the datastore's owner",
        "What is in a datastore must belong to its owner. The serving side starts with root rights and drops to the owner's numbers; without root rights it can only serve as the login itself.",
        "Log in as root or as the owner, or add become \"sudo\" to the node.",
    ),
    code(
        "BK113",
        "the writer would be denied",
        "The folder belongs to somebody else and its mode gives the writer no right. The first backup would fail with os error 13. This is what happens when a dataset made by root is used by a service user.",
        "apply changes the owner. Entries that exist already are changed only after an explicit yes.",
    ),
    code(
        "BK114",
        "the folder belongs to somebody else than declared",
        "The mode lets the writer in, and that is not enough: touching or replacing what others made needs ownership and would fail with os error 1.",
        "apply changes the owner.",
    ),
    code(
        "BK115",
        "entries in the datastore belong to somebody else",
        "Usually left behind by a command that ran as root. The writer can't touch or replace them.",
        "apply changes their owner after an explicit yes.",
    ),
    code(
        "BK116",
        "the folder's mode differs",
        "The mode decides who else may look into the datastore.",
        "apply sets the declared mode.",
    ),
    code(
        "BK117",
        "one name, two numbers",
        "Files carry numbers. A user that has the same name and other numbers on another machine is another user there.",
        "Correct the service-user, or give the user the declared numbers on that node.",
    ),
    code(
        "BK118",
        "owner and mode are right, and the system still says no",
        "Something that mode bits do not show denies it: an access control list, an NFS export that squashes the user, or an immutable flag.",
        "Look at getfacl and lsattr on the machine that holds the disk, and at the export.",
    ),
    code(
        "BK119",
        "the datastore's path was not looked at",
        "The saved facts do not match this topology.",
        "Observe again.",
    ),
    code(
        "BK120",
        "the server of a share would deny the writer",
        "An NFS server judges each call by the user it takes the writer for: the number inside a container becomes another one on the host, travels as that, and is replaced where the export says so. If what is left may not write to the exported folder, every backup ends with \"Permission denied (os error 13)\", however right the folder looks from the client.",
        "Give the folder on the server to the user it takes the writer for, or let the export replace everybody by the folder's owner. `bkpctl explain access DATASTORE` shows the way, hop by hop.",
    ),
    code(
        "BK121",
        "the share is not exported to the machine that mounts it",
        "NFS 3 says \"access denied by server\". So does NFS 4 while nothing is exported to this client; once something else is, it says \"No such file or directory\" of a path that is there. Both mean that no export of this path names this client.",
        "Export the path to the machine's address, and run exportfs -ra on the server.",
    ),
    code(
        "BK122",
        "the share is exported read-only",
        "Whoever writes gets \"Read-only file system (os error 30)\".",
        "Export it with rw.",
    ),
    code(
        "BK123",
        "root may not make the datastore on the share",
        "A datastore is made by root and written by its owner: two users to the server. Where root is replaced by nobody, backups by the owner would work and making the folder or giving it away fails with \"Operation not permitted (os error 1)\" or os error 13.",
        "Make the folder on the server itself, owned by the writer, or map everybody to the owner.",
    ),
    code(
        "BK124",
        "the writer has no number on the container's host",
        "An unprivileged container's users have numbers on the host only as far as its id map goes. No process can run as one that is not mapped.",
        "Widen the container's id map, or choose a number within it.",
    ),
    code(
        "BK125",
        "the container may not mount NFS",
        "Mounting NFS inside a user namespace is refused by the kernel (\"Operation not permitted\"), and in a privileged container by its profile unless features has mount=nfs.",
        "Mount the share on the host and bind it: mount … on=\"HOST\" bind=\"PATH\".",
    ),
    code(
        "BK126",
        "the export checks subtrees",
        "With subtree_check each call is tested for being below the exported path, which gives stray \"Stale file handle\" and permission errors after renames.",
        "Export the root of the dataset or filesystem, with no_subtree_check.",
    ),
    code(
        "BK127",
        "the dataset of a share differs from what is declared",
        "The ZFS dataset is not there, is mounted elsewhere than the share exports, or has another quota. Only the dataset that is exported limits what clients may fill.",
        "Make it, set its quota, or correct the share.",
    ),
    code(
        "BK128",
        "datasets below a share are hidden from its clients",
        "An NFS export shows one filesystem. A dataset that is mounted below it appears to clients as an empty folder of the one above: they see the wrong free space, and what they write lands where nobody looks for it.",
        "Share the dataset itself and mount that.",
    ),
    code(
        "BK129",
        "modes can't be changed on a share's dataset",
        "With NFSv4 ACLs and aclmode=restricted, ZFS refuses every change of mode that an ACL would be lost by, to root as well. Programs that make files and then set their mode fail with os error 1.",
        "Set aclmode=passthrough on the dataset, or strip the ACL. On TrueNAS choose the NFS or generic preset.",
    ),
    code(
        "BK130",
        "the repository's marker can't be used",
        "bkpctl.json says which repository this is and in which format. It is damaged, or newer than this version.",
        "Use a version that knows the format, or restore the marker from another copy.",
    ),
    code(
        "BK131",
        "the repository has another key",
        "It was made for another reading key. Writing with this one would mix two key domains.",
        "Name the right key, or another folder.",
    ),
    code(
        "BK132",
        "the repository belongs to another machine",
        "One machine at a time may open a repository by its path. Its marker names another one: the disk was moved, or two machines see the same share.",
        "If the other machine no longer writes, set home in bkpctl.json to the machine that does.",
    ),
    code(
        "BK133",
        "the datastore belongs to another topology",
        "managed.json in it names another topology. Two topologies that change one datastore would undo each other's work.",
        "Name another folder. If the other topology is gone, remove managed.json.",
    ),
    code(
        "BK134",
        "the datastore is marked under another name",
        "Either it was renamed, or two datastores share one path.",
        "Say that it moved, with moved from=… to=…, or name another folder.",
    ),
    code(
        "BK135",
        "the datastore was here and is gone",
        "The registry on its node lists it, and its folder or the repository in it is not there. Most often its disk is not mounted. Made anew it would be empty, its snapshots would be missed by nobody, and copies would fill the filesystem below the mount point.",
        "Mount the disk, or correct the path. Only if it is lost for good: bkpctl apply --allow datastore.NAME:recreate.",
    ),
    code(
        "BK136",
        "the repository is half removed",
        "Its marker says that it is being removed: that was planned, agreed to and begun, and broken off. What is left is no copy of anything, so nothing is made of it.",
        "Go on with the removal: bkpctl apply --resume, or write removed \"datastore.NAME\" { destroy } in place of its declaration.",
    ),
    code(
        "BK137",
        "a repository could be adopted",
        "The declared folder holds a repository under the declared reading key with snapshots in it, and no topology has marked it. It is used only once you agree that it is this topology's.",
        "bkpctl adopt NAME shows what is in it and marks it; bkpctl apply --allow datastore.NAME:adopt does the same among other changes.",
    ),
    code(
        "BK138",
        "a phase was complete, and its datastore has nothing",
        "Another datastore's marker says that the phase was complete, so there were copies; the declared folder has no repository, and its node's registry lists none. Its machine was replaced, another one answers under its address, or the datastore is new in a phase that was complete before.",
        "If there were copies, look where they are before an empty repository takes their place; their other copies are in the other datastores. If the datastore is new, go on.",
    ),
    code(
        "BK140",
        "the address of a share's client or server is not known",
        "A share is exported to the addresses under which its clients come, and mounted from the address of its server. Both are asked of the client: which way would it go to the server? Where that can't be told, nothing is guessed.",
        "Say clients and address in the share.",
    ),
    code(
        "BK141",
        "the server exports the share otherwise, by hand",
        "The NFS server has a line for the same path and client that a person wrote. Of two lines for one client it takes the first it reads, so a second one would change nothing.",
        "Change that line, or remove it and plan again.",
    ),
    code(
        "BK142",
        "the server is a TrueNAS and does not export the share as declared",
        "A TrueNAS writes its exports from its own settings, and would overwrite what is changed behind its back. This version reads its exports and says what to set.",
        "Set it in its web interface, under Shares, NFS.",
    ),
    code(
        "BK143",
        "there is no running NFS server",
        "The node that is to export the share has no NFS server, or it does not run.",
        "Install and start it.",
    ),
    code(
        "BK144",
        "the file that would export the share is somebody's",
        "A file has the name that this version would give it, and its first line does not say that it is kept for this share.",
        "Look at the file, and move it away if nobody needs it.",
    ),
    code(
        "BK145",
        "the server knows no such user",
        "maproot names a user or group that is neither declared nor known to the server. A server drops such an export without a word.",
        "Declare the service-user with its numbers, or write a number.",
    ),
    code(
        "BK150",
        "something else is mounted at the datastore's place",
        "What is mounted there is not what the topology declares. What a person mounted is never taken away.",
        "Unmount it if nobody needs it there, or correct the topology.",
    ),
    code(
        "BK151",
        "/etc/fstab should mount the datastore's place and did not",
        "The path should be a mount and is an ordinary folder now. Nothing is written there, since that would fill the filesystem below.",
        "Mount it, and look at why it was not.",
    ),
    code(
        "BK152",
        "the datastore's place should be a mount and is not",
        "It was mounted when it was last used, and is an ordinary folder now. Nothing is written there, since that would fill the filesystem below; whoever serves it checks that too.",
        "apply mounts it again.",
    ),
    code(
        "BK153",
        "the mount would hide what is in the folder",
        "The folder that becomes the mount point holds something. It stays there, and nobody sees it while something is mounted over it.",
        "Move what is needed away first.",
    ),
    code(
        "BK154",
        "the node can't mount NFS",
        "The program that mounts NFS is not installed on the node.",
        "Install it: nfs-common on Debian.",
    ),
    code(
        "BK155",
        "the node has no systemd",
        "Mounts are made by systemd units, so that they come back after a restart and in the right order.",
        "Mount it by /etc/fstab, which is left alone.",
    ),
    code(
        "BK156",
        "the container does not see what its host mounts for it",
        "A container sees a mount of its host only if it binds it, and if it was started after it. Until then its own folder is at that path.",
        "Bind it and restart the container.",
    ),
    code(
        "BK157",
        "the disk is not plugged in",
        "No filesystem with the declared UUID is there.",
        "Plug the disk in, or correct the UUID.",
    ),
    code(
        "BK158",
        "the unit that would mount the datastore's place is somebody's",
        "A unit for that mount point is there, and its first line does not say that it is kept for this datastore.",
        "Start it, or move it away if nobody needs it.",
    ),
    code(
        "BK160",
        "the container's id map was not granted",
        "A container's lxc.idmap may only ask for numbers that its host's root was given in /etc/subuid and /etc/subgid: newuidmap and newgidmap refuse all others, and then the container does not start. Both files have to name each run of numbers that is mapped, also a single one such as root:34:1.",
        "Add the missing lines to /etc/subuid and /etc/subgid on the host, then start the container.",
    ),
    code(
        "BK190",
        "something managed is no longer declared",
        "bkpctl put it there, and the topology no longer has it. It is reported and never destroyed by itself.",
        "Write removed \"ADDRESS\" to forget it and leave it there, or removed \"ADDRESS\" { destroy } to destroy it, which wants an explicit yes.",
    ),
    code(
        "BK191",
        "it is guarded and can't be destroyed",
        "The datastore was declared with guard, which is written into it and outlives its declaration. So deleting a block of the topology and saying destroy is never enough.",
        "Declare it again without guard, apply that with --allow datastore.NAME:unguard, and only then remove it.",
    ),
    code(
        "BK192",
        "nothing is to be seen of what may be destroyed",
        "The topology says that a datastore's repository may be destroyed, and none is in its folder. Most often its disk is not mounted. It stays listed, so that it is not taken for destroyed.",
        "Mount the disk and plan again; or take the destroy out of removed, which forgets it.",
    ),
    code(
        "BK193",
        "what may be destroyed can't be told to be ours",
        "Only what carries this topology's own marks is destroyed: a repository by its managed.json and id, an export or a mount by the first line of its file. Here they are missing, name something else, or something declared is in the same place.",
        "Look at it and remove it by hand if it is not needed; removed without destroy forgets it.",
    ),
    code(
        "BK194",
        "it holds the only copy of a source",
        "A source that is still declared has a complete snapshot in this datastore and in no other one that was seen.",
        "Copy the source to another datastore first. If it is not needed any more, delete its declaration too.",
    ),
    code(
        "BK201",
        "it would not fit",
        "A first copy must fit as if nothing were shared or compressed, and leave the reserve untouched. A full disk takes everything else on it down.",
        "Free some space, lower the reserve, or use another datastore.",
    ),
    code(
        "BK202",
        "it would not fit if everything changed",
        "A later copy usually brings little. If all of the source changed it would not fit; writing stops at the reserve then, and the copy fails.",
        "Free some space before it is needed.",
    ),
    code(
        "BK203",
        "less than the reserve is free",
        "New data is refused until there is more space.",
        "Free some space, or lower the reserve.",
    ),
    code(
        "BK210",
        "few inodes are left",
        "A filesystem without free inodes refuses new files with os error 28, although df shows free bytes.",
        "Remove small files. ext4 decides on its inodes when it is made; XFS, Btrfs and ZFS make them as needed.",
    ),
    code(
        "BK220",
        "a thin pool is full or nearly so",
        "Volumes of a thin pool are promised more than the pool has. When it is full, every write that needs a new block fails, for all guests in it at once: after a minute, or at once where it says so. Blocks that were written before can still be written.",
        "Delete what is not needed and trim the guests, or extend the pool. activation/thin_pool_autoextend_threshold below 100 in lvm.conf extends it by itself while its group has room.",
    ),
    code(
        "BK221",
        "a thin pool is promised to more than it can hold",
        "The sizes of its volumes add up to more than the pool can become. That works until the guests have written that much.",
        "Watch it, extend the pool, or let LVM extend it (activation/thin_pool_autoextend_threshold).",
    ),
    code(
        "BK222",
        "a thin pool's metadata is nearly full",
        "A pool whose metadata is full stops, and has to be repaired with thin_repair before it works again.",
        "Extend it: lvextend --poolmetadatasize +1G GROUP/POOL. Deleting snapshots frees some.",
    ),
    code(
        "BK223",
        "a job of vzdump can fill what it writes to",
        "vzdump looks at no free space. Dumps go to the job's storage; a container that can't be snapshotted is copied to a temporary folder first, which is on the root filesystem if the target is ZFS, Btrfs or CIFS; fleecing takes room from its storage. Sums are made as if nothing were compressed. A filled root filesystem takes the node's services and its guests down.",
        "Send the dumps to a storage with room, leave guests out of the job, set tmpdir, or let a backup job of the topology take its place.",
    ),
    code(
        "BK310",
        "a node was not reached",
        "Nothing answered in time. What depends on it is deferred, the rest goes on.",
        "Start it, check its address, or try again later.",
    ),
    code(
        "BK311",
        "a node's clock is off",
        "The age of a copy is told from clocks. One that is off makes old copies look new.",
        "Let it follow a time server.",
    ),
    code(
        "BK312",
        "a node's host key is not the known one",
        "Either it was set up anew, or somebody is in between. bkpctl never trusts a key on first use.",
        "Compare it at the node's console, then bkpctl host-key NODE prints the line to paste.",
    ),
    code(
        "BK313",
        "a node let us in with none of our keys",
        "It answered and refused every key it was offered.",
        "Name the right identity-file, or add the public key to the node.",
    ),
    code(
        "BK314",
        "a node's answer could not be used",
        "It was cut off, too large or not understood.",
        "Try again; if it stays so, look at what the login's shell prints on its own.",
    ),
    code(
        "BK320",
        "the binary does not run on a node",
        "The node has another processor architecture than the binary at hand.",
        "Build bkpctl for it and name the file with --agent-binary.",
    ),
    code(
        "BK321",
        "there is no binary to place",
        "Nodes get a static binary that needs nothing installed. The running one is not static, or was not found.",
        "Build a static one and name it with --agent-binary.",
    ),
    code(
        "BK330",
        "a source can't be read",
        "The login has no right to read it. A copy without it would be incomplete.",
        "Log in as root, or add become \"sudo\" to the node.",
    ),
    code(
        "BK331",
        "a source does not exist",
        "A path of it is not there. That is often a disk that is not mounted, and an empty copy must never become the newest good one.",
        "Mount it, make it, or correct the path.",
    ),
    code(
        "BK332",
        "a source did not answer in time",
        "Looking at it took longer than its deadline, as on a network mount whose server is gone.",
        "Bring the server back, or unmount it.",
    ),
    code(
        "BK333",
        "a volume is no volume",
        "It is neither a block device nor a regular file, so there is no image to copy.",
        "Name the device, or use path for a folder.",
    ),
    code(
        "BK334",
        "a source's program can't be run",
        "It was not found on the node, the user it runs as is not there, or the login may not become that user.",
        "Install it, correct the topology, or log in as root.",
    ),
    code(
        "BK335",
        "a source's path was not looked at",
        "The facts that the plan is made from do not have it: they were saved for another state of the topology.",
        "Look again: bkpctl observe --save FILE.",
    ),
    code(
        "BK401",
        "a reading key is missing",
        "Snapshots are sealed for it. apply never makes one silently: on a machine that is thrown away it would be the only one.",
        "bkpctl key new NAME, on a machine that stays.",
    ),
    code(
        "BK402",
        "a reading key can't be used",
        "The file is there and is not a key that this version can open.",
        "Put the right file there, or restore it from the recovery sheet.",
    ),
    code(
        "BK403",
        "a recovery sheet was not confirmed",
        "Without the key file and without its sheet nothing can be read again, by nobody. The first backup waits until somebody says that the sheet is in a safe place.",
        "Print it, keep it apart from the machine, then bkpctl key confirm NAME.",
    ),
    code(
        "BK404",
        "a reading key is missing, and there is data sealed for it",
        "A new key can't read what is there, so none is made.",
        "Put the key file back, from a copy or from the recovery sheet.",
    ),
    code(
        "BK410",
        "a source changed its nature",
        "It is read from another machine than its newest snapshot. A machine that was set up anew, and is still empty, must not replace the good copies of the old one.",
        "Restore it first, or allow the new copy with --allow source.NAME:nature.",
    ),
    code(
        "BK411",
        "a program would run for the first time",
        "A source that is a command runs code on its node. The registry there lists what was allowed before, and this command is new or changed.",
        "Read it, then allow it with --allow source.NAME:command.",
    ),
    code(
        "BK420",
        "a drill would bring a reading key to a node that may not hold one",
        "A restore needs the reading key, and whoever breaks into a node that holds it can read everything.",
        "Declare the node a reader, or let the drill run where bkpctl runs.",
    ),
    code(
        "BK421",
        "a drill did not pass",
        "What was restored differs from what was copied. Until a drill passes, that copy is a hope.",
        "Look at the drill's problems, check the datastore with bkpctl store verify, then run the drill again with bkpctl run.",
    ),
    code(
        "BK422",
        "the newest snapshot is incomplete",
        "Some entries could not be read. What is in it can be restored, and it does not count as a copy.",
        "Make the entries readable, or exclude them.",
    ),
    code(
        "BK423",
        "a drill has nothing to restore",
        "No job copies that source to that datastore.",
        "Name a datastore that the source reaches.",
    ),
    code("BK501", "exports are not carried out", NOT_YET, BY_HAND),
    code("BK502", "mounts are not carried out", NOT_YET, BY_HAND),
    code("BK503", "containers are not followed", NOT_YET, BY_HAND),
    code(
        "BK504",
        "snapshots of volumes are not carried out",
        NOT_YET,
        "Leave via out to copy the volume as it lies there, best while nothing writes to it, or keep the backup you have for it.",
    ),
    code("BK506", "guests are not carried out", NOT_YET, KEEP_OLD),
    code("BK507", "buckets are not carried out", NOT_YET, KEEP_OLD),
    code("BK508", "cloud jobs are not carried out", NOT_YET, KEEP_OLD),
    code(
        "BK509",
        "several places are not carried out",
        NOT_YET,
        BY_HAND,
    ),
    code(
        "BK510",
        "jump hosts are not used",
        "Versions before jumps were carried out said this of a node with jump.",
        "Nothing: nodes are reached through the nodes they name.",
    ),
    code(
        "BK511",
        "nodes without an agent are not read",
        NOT_YET,
        KEEP_OLD,
    ),
    code(
        "BK512",
        "Proxmox Backup Server's datastores are not read",
        NOT_YET,
        KEEP_OLD,
    ),
    code(
        "BK513",
        "there is nothing to destroy",
        "Datastores and shares leave something on machines: a repository, a mount, an export. Other things leave nothing that destroy would remove; snapshots of a source stay in its datastores.",
        "Leave out destroy.",
    ),
    code(
        "BK520",
        "timers are not installed",
        "The times in the topology say how old copies may get. This version installs no timer for them.",
        "Let cron or a CI job call bkpctl run JOB, or bkpctl apply.",
    ),
    code(
        "BK521",
        "nothing is pruned",
        "This version keeps every snapshot, whatever keep says.",
        "Watch the space; a later version prunes.",
    ),
    code(
        "BK601",
        "too few copies",
        "The policy wants each source in so many datastores, the source itself not counted.",
        "Add a sync to another datastore, or lower the number.",
    ),
    code(
        "BK602",
        "too few media",
        "Two datastores count once if their bytes are lost together: they lie on one device, in one pool, on one machine, behind one file server, or in one failure domain other than a site. So a sync to the machine that holds the first copy makes no second medium. A disk that can be unplugged, mounted by its UUID, is a medium of its own.",
        "Put one of them on another machine, on a disk that can be taken away, or in a bucket.",
    ),
    code(
        "BK603",
        "no copy at another site",
        "A fire or a thief takes everything in one place. Sites are what domain site=… says; what has none does not count.",
        "Add a datastore at another site, and declare the sites of nodes.",
    ),
    code(
        "BK604",
        "no copy beyond reach",
        "A copy that no credential of ours can delete survives somebody who has them all. A bucket counts if its object-lock lasts longer than its job leaves between two runs.",
        "Use a bucket with an object-lock that is long enough.",
    ),
    code(
        "BK605",
        "copies are too old",
        "Some copies would be older than the policy allows, even after this plan.",
        "See what keeps them from being made, or run the jobs more often.",
    ),
    code(
        "BK606",
        "restores were not proven lately",
        "A backup that was never restored is a hope. The policy says how old the last proof may get.",
        "Add a drill, or see what keeps it from passing.",
    ),
    code(
        "BK607",
        "not everything is covered",
        "Some guest or ZFS dataset that was found is neither a source nor excepted, so nothing would bring it back. A guest is protected as a source, in a group of guests, by sources in it where it is a node, or if each of its disks is a source. Datasets that hold less than 1 MiB, a datastore or a guest's disk do not count.",
        "Make it a source, or except it: except 900 in guests, except \"tank/scratch\" in covered { … }.",
    ),
    code(
        "BK608",
        "a waiver ended",
        "A rule was set aside until a day that has come. It counts again.",
        "Make the rule hold, or renew the waiver with a reason.",
    ),
    code(
        "BK610",
        "a source is copied nowhere",
        "It is declared, and no job names it.",
        "Add it to a backup job, or remove it.",
    ),
    code(
        "BK611",
        "a job runs too seldom for the policy",
        "Until a run is over, the copy before it is the newest, so it gets as old as the interval and the longest run that was seen. If that is longer than the rpo, the policy can't hold.",
        "Run it more often, or allow an rpo longer than the interval and the time of a run.",
    ),
    code(
        "BK612",
        "a datastore keeps everything",
        "Without keep every snapshot stays for ever, and space runs out one day.",
        "Add keep, for example keep last=3 daily=7 weekly=4.",
    ),
    code(
        "BK613",
        "something found is in no source",
        "Guests or ZFS datasets were found on the nodes that no source reads. Nothing asks for them to be covered, so this is a note.",
        "Make them sources, or write covered in the policy: then whatever is found must be a source or excepted.",
    ),
    code(
        "BK614",
        "an object-lock is too short",
        "Once the lock of the newest copy has run out and the next one has not come, everything in the bucket can be deleted by whoever has its credentials.",
        "Lock for longer than the job leaves between two runs, or run it more often.",
    ),
    code(
        "BK615",
        "a datastore is sealed for another key",
        "What is in it was encrypted for a key that the topology does not name for it. Whoever holds that key can read it, and a restore with this topology's key can't.",
        "Name the key it was made for, or use another folder.",
    ),
    code(
        "BK616",
        "space runs out soon",
        "A filesystem with datastores has reached its reserve, is likely to reach it within 90 days, or may do so by this plan. New copies are refused then.",
        "bkpctl forecast shows when and how fast. Free some space, keep less, or add a datastore.",
    ),
    code(
        "BK617",
        "one number, two users",
        "Files carry numbers and no names. If the number of a service user belongs to somebody else too, on the machine where the copies lie or in the topology itself, that one can change and delete them.",
        "Give the service user a number that nobody else has, on every node.",
    ),
    code(
        "BK618",
        "a copy of a copy is kept for less time",
        "A second datastore is there for the day on which the first is lost. What it let go of earlier is lost on that day.",
        "Keep at least as long in the copy. Where that is not wanted: waive \"retention\" until=… reason=….",
    ),
    code(
        "BK619",
        "a restore needs what only a restore would bring back",
        "To read a copy one needs its reading key, and whoever serves it. If the only file of the key lies on a machine that is lost, and the only copy of that file is encrypted for the same key, nothing can be restored, however many copies there are. A server that is a guest backed up only to itself is the same circle, which can be broken by hand.",
        "Confirm the key's recovery sheet and keep it apart: bkpctl key confirm NAME. For a server: copy it to a datastore that it does not serve, too.",
    ),
];

const NOT_YET: &str = "The topology may say it, and this version does not carry it out. It is named plainly, and nothing is planned that would pretend.";
const BY_HAND: &str = "Do it by hand for now.";
const KEEP_OLD: &str = "Keep the backup you have for it until a version does it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_each_is_there_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    #[test]
    fn no_code_names_a_command_that_does_not_exist() {
        const KNOWN: &[&str] = &[
            "adopt", "apply", "explain", "forecast", "host-key", "key", "observe", "plan",
            "restore", "run", "status", "store",
        ];
        for code in CODES {
            for text in [code.title, code.explanation, code.remedy] {
                for rest in text.split("bkpctl ").skip(1) {
                    let word = rest.split(|c: char| !c.is_alphabetic() && c != '-').next();
                    // "bkpctl put it there" speaks of the program and is no command.
                    let told = ["for", "put", "runs", "never"];
                    let fine = word.is_some_and(|w| KNOWN.contains(&w) || told.contains(&w));
                    assert!(fine, "{}: bkpctl {rest}", code.code);
                }
            }
        }
    }

    #[test]
    fn every_code_can_be_explained() {
        for code in CODES {
            assert_eq!(find(code.code), Some(code));
            assert!(!code.explanation.is_empty() && !code.remedy.is_empty());
        }
        assert_eq!(find("BK999"), None);
    }
}
