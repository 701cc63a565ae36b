{
  # Stands in for nixpkgs on a machine without a network: what bottle's flake uses of it, over the machine's own compiler, and over crates
  # that `tests/nix/prove` has vendored beside this file. Whatever it does not know is an error: an attribute that is missing, an argument
  # that no builder takes. It proves the flake's own logic and that the build is hermetic. What nixpkgs makes of the same arguments, it
  # does not prove.
  description = "A stand-in for nixpkgs";

  outputs =
    _:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      lib = {
        genAttrs =
          names: function:
          builtins.listToAttrs (
            map (name: {
              inherit name;
              value = function name;
            }) names
          );
        hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
        removePrefix =
          prefix: text:
          if lib.hasPrefix prefix text then
            builtins.substring (builtins.stringLength prefix) (builtins.stringLength text) text
          else
            text;
        concatMapStringsSep =
          separator: function: list:
          builtins.concatStringsSep separator (map function list);
        optionalAttrs = condition: set: if condition then set else { };
        licenses.asl20.spdxId = "Apache-2.0";
      };

      # By its content alone: a change of this file builds no crate anew.
      vendor = builtins.path {
        name = "vendor";
        path = ./vendor;
      };

      legacyPackages = lib.genAttrs systems (
        system:
        let
          # The paths that the sandbox shows are no inputs that Nix would hash; what they hold is told here.
          toolchain = builtins.readFile ./toolchain;

          # Nix ends a builder whose last command closes the pipe of its log: each script ends by itself.
          derivation' =
            name: environment: script:
            derivation (
              environment
              // {
                inherit name system toolchain;
                builder = "/bin/bash";
                args = [
                  "-c"
                  ''
                    set -euo pipefail
                    export PATH=/rust/bin:/usr/bin:/bin HOME=$TMPDIR
                    # As unlike the build outside as can be: what comes out must be the same.
                    export TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8
                    umask 077
                    # `cc` is a link into /etc/alternatives, which is not here. A linker that is named to cargo would be another one:
                    # rustc brings its own for a C compiler that it was not told of.
                    mkdir -p $TMPDIR/compiler
                    ln -s /usr/bin/gcc $TMPDIR/compiler/cc
                    PATH=$TMPDIR/compiler:$PATH
                    runHook() { :; }
                    ${script}
                    exit 0
                  ''
                ];
              }
            );

          of-the-machine = name: derivation' name { } "mkdir $out";
        in
        {
          runCommand =
            name:
            {
              meta ? { },
              nativeBuildInputs ? [ ],
            }:
            script:
            derivation' name { } ''
              ${builtins.concatStringsSep "\n" (map (input: "PATH=${input}/bin:$PATH") nativeBuildInputs)}
              ${script}
            ''
            // {
              inherit meta;
            };

          mkShell =
            { packages, buildInputs }:
            derivation' "shell" { inherit packages buildInputs; } "mkdir $out";

          rustPlatform.buildRustPackage =
            {
              pname,
              version,
              src,
              cargoLock,
              auditable,
              doCheck,
              buildInputs,
              nativeBuildInputs,
              dontStrip,
              dontPatchELF,
              buildPhase,
              installPhase,
              meta ? { },
            }:
            assert cargoLock == { inherit (cargoLock) lockFile; };
            assert !auditable && !doCheck && dontStrip && dontPatchELF;
            derivation' "${pname}-${version}" { inherit buildInputs nativeBuildInputs; } ''
              cp -r ${src} source
              chmod -R u+w source
              cd source
              cmp ${cargoLock.lockFile} Cargo.lock
              export CARGO_HOME=$TMPDIR/cargo cargoDepsCopy=${vendor}
              cat >>.cargo/config.toml <<END

              [source.crates-io]
              replace-with = "vendored"
              [source.vendored]
              directory = "$cargoDepsCopy"
              END
              ${buildPhase}
              ${installPhase}
            ''
            // {
              inherit meta;
            };

          glibc.static = of-the-machine "glibc-static";
          cargo = of-the-machine "cargo";
          clippy = of-the-machine "clippy";
          rustc = of-the-machine "rustc";
          rustfmt = of-the-machine "rustfmt";
          nixfmt = of-the-machine "nixfmt";
          skopeo = of-the-machine "skopeo";
          umoci = of-the-machine "umoci";
        }
      );
    in
    {
      inherit lib legacyPackages;
    };
}
