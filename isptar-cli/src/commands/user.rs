//! `--user`: the whole run acts as another user.

use nix::errno::Errno;
use nix::unistd::{Uid, User, geteuid, initgroups, setresgid, setresuid};
use std::ffi::CString;

use crate::failure::Failure;

/// Who reads and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct UserArgs {
    /// Act as the user NAME, which may be a number, with its groups: only root can. Everything is
    /// read and written as that user, the archive too, and so programs are run
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl UserArgs {
    /// Becomes that user, for good; must come before the first file is opened.
    pub(crate) fn act(&self) -> Result<(), Failure> {
        let Some(name) = &self.user else { return Ok(()) };
        let failed = |errno: Errno| Failure::ActAs { name: name.clone(), source: errno.into() };
        let user = look_up(name).map_err(failed)?;
        let user = user.ok_or_else(|| Failure::NoUser { name: name.clone() })?;
        if user.uid == geteuid() && !geteuid().is_root() {
            return Ok(());
        }
        let groups_of = CString::new(user.name.as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        // The number of the user last: without root's nothing can be changed any more. The C
        // library sees to it that all threads change.
        initgroups(&groups_of, user.gid)
            .and_then(|()| setresgid(user.gid, user.gid, user.gid))
            .and_then(|()| setresuid(user.uid, user.uid, user.uid))
            .map_err(failed)
    }
}

/// Returns a user by name or, when nobody has that name, by number.
fn look_up(name: &str) -> Result<Option<User>, Errno> {
    match (User::from_name(name)?, name.parse().map(Uid::from_raw)) {
        (None, Ok(uid)) => User::from_uid(uid),
        (user, _) => Ok(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(look_up("root").unwrap().unwrap().uid, Uid::from_raw(0));
        assert_eq!(look_up("0").unwrap().unwrap().name, "root");
        assert!(look_up("no such user").unwrap().is_none());
    }

    #[test]
    fn nobody_of_that_name_is_a_usage_error() {
        for name in ["no such user", "-1", "4294967294"] {
            let failure = UserArgs { user: Some(name.into()) }.act().unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{name}");
            assert_eq!(failure.to_string(), format!("there is no user {name}"));
        }
        assert!(UserArgs::default().act().is_ok());
    }
}
