//! Foreign clients: gets them from the package registries into `target/foreign` and runs the tests that use them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, root};

/// Where scripts, lock files and sources of foreign clients stand.
const SOURCES: &str = "crates/tributary/tests/foreign";

/// Tests that need foreign clients, in order.
pub const STAGES: &[(&str, fn(&Foreign) -> Result<()>)] = &[];

/// The folder of installed foreign clients.
pub struct Foreign {
    dir: PathBuf,
}

impl Foreign {
    /// Names the folder; installs nothing yet.
    pub fn new() -> Result<Self> {
        let dir = root().join("target/foreign");
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// A file or folder of the sources.
    pub fn source(name: &str) -> PathBuf {
        root().join(SOURCES).join(name)
    }

    /// The Python of an environment with `requirements.txt` installed.
    pub fn python(&self) -> Result<PathBuf> {
        let home = self.dir.join("python");
        let python = home.join("bin/python");
        let requirements = Self::source("requirements.txt");
        if self.stale("python", &requirements)? {
            command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
            command(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))?;
            self.done("python", &requirements)?;
        }
        Ok(python)
    }

    /// A folder with `node_modules` as `package-lock.json` says.
    pub fn node(&self) -> Result<PathBuf> {
        let home = self.dir.join("node");
        let lock = Self::source("node/package-lock.json");
        if self.stale("node", &lock)? {
            std::fs::create_dir_all(&home)?;
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(Self::source("node").join(file), home.join(file))?;
            }
            command(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&home))?;
            self.done("node", &lock)?;
        }
        Ok(home)
    }

    /// The program built from the Go sources.
    pub fn go(&self) -> Result<PathBuf> {
        let program = self.dir.join("go-clients");
        command(Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(Self::source("go")))?;
        Ok(program)
    }

    /// Debian's packages that the tests run beside ours, installed when one of `programs` is missing.
    pub fn debian(&self) -> Result<()> {
        let found = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|dir| dir.join(name).is_file())
        };
        let wanted = [("mosquitto", "mosquitto"), ("mosquitto_pub", "mosquitto-clients"), ("kcat", "kcat")];
        let missing: Vec<&str> = wanted.iter().filter(|(program, _)| !found(program)).map(|(_, p)| *p).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let apt = |args: &[&str]| {
            // RUNLEVEL=1: a package's service is installed, not started.
            command(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
        };
        let install: Vec<&str> =
            ["install", "--yes", "--quiet", "--no-install-recommends"].into_iter().chain(missing.iter().copied()).collect();
        apt(&["update", "--quiet"]).and_then(|()| apt(&install)).with_context(|| {
            format!("install Debian's {} (as root: apt-get install {})", missing.join(", "), missing.join(" "))
        })
    }

    /// Whether `what` must be installed (again): its lock file changed, or it was never finished.
    fn stale(&self, what: &str, lock: &Path) -> Result<bool> {
        let wanted = std::fs::read(lock).with_context(|| format!("read {}", lock.display()))?;
        Ok(std::fs::read(self.stamp(what)).map_or(true, |had| had != wanted))
    }

    fn done(&self, what: &str, lock: &Path) -> Result<()> {
        std::fs::copy(lock, self.stamp(what)).map(drop).context("note what was installed")
    }

    fn stamp(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{what}.installed"))
    }
}

/// Runs a foreign script that ends with `N passed, M failed` and fails on its exit code.
pub fn script(program: &Path, args: &[&str]) -> Result<()> {
    if !program.exists() {
        bail!("{} is missing", program.display());
    }
    command(Command::new(program).args(args).current_dir(root()))
}
