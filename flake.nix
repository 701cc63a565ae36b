{
  description = "Runs a coding agent as if it were already compromised, and loses nothing when it is";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # Namespaces are Linux': there is nothing here that darwin could run.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = function: lib.genAttrs systems (system: function nixpkgs.legacyPackages.${system});
      version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;

      # Only what programs and tests are made of: a change of the README builds nothing anew.
      sourceOf =
        names:
        builtins.path {
          name = "bottle-source";
          path = self.outPath;
          filter =
            path: _:
            builtins.any (
              name:
              let
                wanted = "${self.outPath}/${name}";
              in
              path == wanted || lib.hasPrefix "${wanted}/" path || lib.hasPrefix "${path}/" wanted
            ) names;
        };
      # The second list: cargo looks whether these are there, and reads nothing of them.
      forPrograms = [
        ".cargo"
        "Cargo.lock"
        "Cargo.toml"
        "images"
        "src"
        "tests/features"
        "tests/origin"
        "tests/support"
      ]
      ++ [
        "tests/e2e/main.rs"
        "tests/it/main.rs"
      ];
      forChecks = [
        ".cargo"
        "Cargo.lock"
        "Cargo.toml"
        "Makefile"
        "clippy.toml"
        "deny.toml"
        "images"
        "rustfmt.toml"
        "src"
        "tests"
      ];

      # Each sidecar is a package `bottle-NAME` with the recipe of its image.
      sidecars = builtins.filter (name: builtins.pathExists (./images + "/${name}/image.yaml")) (
        builtins.attrNames (builtins.readDir ./images)
      );
      each = function: lib.concatMapStringsSep " " function sidecars;

      packagesOf =
        pkgs:
        let
          build =
            arguments:
            pkgs.rustPlatform.buildRustPackage (
              {
                inherit version;
                src = sourceOf forPrograms;
                cargoLock.lockFile = ./Cargo.lock;
                # It would add a section to the programs.
                auditable = false;
                doCheck = false;
                # Programs are linked statically.
                buildInputs = [ pkgs.glibc.static ];
                nativeBuildInputs = [ ];
                # The script strips already; another strip would give other bytes.
                dontStrip = true;
                dontPatchELF = true;
              }
              // arguments
            );

          programs = build {
            pname = "bottle-programs";
            buildPhase = ''
              runHook preBuild
              BOTTLE_VENDORED=$cargoDepsCopy sh images/programs.sh --offline \
                --bin bottle --bin bottle-demo-origin ${each (name: "--bin bottle-${name}")}
              runHook postBuild
            '';
            installPhase = ''
              runHook preInstall
              release=target/$(rustc --print host-tuple)/release
              install -Dm755 $release/bottle $out/bin/bottle
              install -Dm755 -t $out/libexec/bottle $release/bottle-demo-origin ${
                each (name: "$release/bottle-${name}")
              }
              mkdir -p $out/share/man $out/share/bash-completion/completions
              mkdir -p $out/share/zsh/site-functions $out/share/fish/vendor_completions.d
              $out/bin/bottle man $out/share/man
              $out/bin/bottle completions bash >$out/share/bash-completion/completions/bottle
              $out/bin/bottle completions zsh >$out/share/zsh/site-functions/_bottle
              $out/bin/bottle completions fish >$out/share/fish/vendor_completions.d/bottle.fish
              runHook postInstall
            '';
            meta = {
              description = "The programs of bottle, without images";
              license = lib.licenses.asl20;
              mainProgram = "bottle";
              platforms = systems;
            };
          };

          # The same writer as everywhere, in Nix's sandbox.
          images = pkgs.runCommand "bottle-images-${version}" { } ''
            export BOTTLE_HOME=$TMPDIR/home SOURCE_DATE_EPOCH=0
            ${programs}/bin/bottle images build
            ${programs}/bin/bottle images verify
            mkdir -p $out
            cp -r $BOTTLE_HOME/images/archives $out/archives
            rm $out/archives/.lock
            chmod -R u=rwX,go=rX $out
          '';

          image =
            name:
            pkgs.runCommand "bottle-image-${name}-${version}" { } ''
              export BOTTLE_HOME=$TMPDIR/home SOURCE_DATE_EPOCH=0
              ${programs}/bin/bottle images export ${name} --output $out
            '';

          # Programs and images together: the wrapper names the directory that has both, so that nothing is built at the first start.
          bottle = pkgs.runCommand "bottle-${version}" { meta = programs.meta; } ''
            mkdir -p $out/bin $out/libexec/bottle
            ln -s ${programs}/libexec/bottle/* $out/libexec/bottle/
            ln -s ${images} $out/libexec/bottle/images
            ln -s ${programs}/share $out/share
            cat >$out/bin/bottle <<END
            #!/bin/sh
            export BOTTLE_LIBEXEC=\''${BOTTLE_LIBEXEC:-$out/libexec/bottle}
            exec ${programs}/bin/bottle "\$@"
            END
            chmod 755 $out/bin/bottle
          '';

          # Nothing but the exit code of a command, with everything that programs are built with.
          check =
            name: tools: command:
            build {
              pname = "bottle-check-${name}";
              src = sourceOf forChecks;
              nativeBuildInputs = tools;
              buildPhase = ''
                runHook preBuild
                ${command}
                runHook postBuild
              '';
              installPhase = "touch $out";
            };
        in
        {
          inherit bottle images programs;
          default = bottle;
          checks = {
            build = bottle;
            # From what `image` wrote on its own, to what `images` has: two builds, compared to the last byte.
            images = pkgs.runCommand "bottle-check-images" { } ''
              export BOTTLE_HOME=$TMPDIR/home SOURCE_DATE_EPOCH=0 TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8
              umask 077
              ${lib.concatMapStringsSep "\n" (
                name: "${bottle}/bin/bottle images verify ${name} --against ${image name}"
              ) sidecars}
              touch $out
            '';
            fmt = check "fmt" [ pkgs.rustfmt ] "cargo fmt --all --check";
            clippy = check "clippy" [
              pkgs.clippy
            ] "cargo clippy --offline --locked --workspace --all-targets -- -D warnings";
            # Those that need no namespaces, no other user, no other file system and no setuid bit, which Nix' sandbox forbids, nor other
            # programs.
            test = check "test" [ ] ''
              cargo test --offline --locked --workspace --lib
              cargo test --offline --locked --workspace --test builder -- \
                recipe verify writer \
                --skip modes_are_the_five_that_the_writer_knows --skip skopeo_and_umoci_read_the_archive
              cargo test --offline --locked --workspace --test it -- manifest plan
            '';
          }
          // lib.optionalAttrs (pkgs ? cargo-deny) {
            deny = check "deny" [
              pkgs.cargo-deny
            ] "cargo deny --offline check bans licenses sources";
          };
        }
        // lib.genAttrs (map (name: "image-${name}") sidecars) (
          name: image (lib.removePrefix "image-" name)
        );
    in
    {
      packages = forEach (pkgs: removeAttrs (packagesOf pkgs) [ "checks" ]);
      checks = forEach (pkgs: (packagesOf pkgs).checks);

      apps = lib.genAttrs systems (system: {
        default = self.apps.${system}.bottle;
        bottle = {
          type = "app";
          program = "${self.packages.${system}.bottle}/bin/bottle";
        };
      });

      overlays.default = final: _: { inherit (packagesOf final) bottle; };

      formatter = forEach (pkgs: pkgs.nixfmt);

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            pkgs.skopeo
            pkgs.umoci
          ];
          buildInputs = [ pkgs.glibc.static ];
        };
      });
    };
}
