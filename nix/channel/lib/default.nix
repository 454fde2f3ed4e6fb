# The functions of nixpkgs' lib that shells use, with the same names and the same meaning.
let
  inherit (builtins) elemAt length isString isList isAttrs isFunction;

  lib = builtins // {
    inherit (builtins) map filter foldl' concatLists concatStringsSep attrNames attrValues mapAttrs listToAttrs elem genList;

    # trivial
    id = x: x;
    const = x: _: x;
    flip = f: a: b: f b a;
    pipe = value: functions: lib.foldl' (x: f: f x) value functions;
    fix = f: let x = f x; in x;
    extends = overlay: f: final: let prev = f final; in prev // overlay final prev;
    warn = message: value: builtins.trace "warning: ${message}" value;
    throwIf = condition: message: if condition then throw message else x: x;
    throwIfNot = condition: message: if condition then x: x else throw message;
    assertMsg = condition: message: condition || throw message;
    boolToString = b: if b then "true" else "false";
    min = a: b: if a < b then a else b;
    max = a: b: if a > b then a else b;
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    version = "offline";

    # lists
    singleton = x: [ x ];
    optional = condition: x: if condition then [ x ] else [ ];
    optionals = condition: xs: if condition then xs else [ ];
    concatMap = builtins.concatMap;
    flatten = x: if isList x then lib.concatMap lib.flatten x else [ x ];
    remove = x: lib.filter (y: y != x);
    subtractLists = xs: lib.filter (y: !(lib.elem y xs));
    unique = lib.foldl' (seen: x: if lib.elem x seen then seen else seen ++ [ x ]) [ ];
    reverseList = xs: let n = length xs; in lib.genList (i: elemAt xs (n - i - 1)) n;
    range = first: last: if first > last then [ ] else lib.genList (i: first + i) (last - first + 1);
    imap0 = f: xs: lib.genList (i: f i (elemAt xs i)) (length xs);
    last = xs: elemAt xs (length xs - 1);
    take = n: xs: lib.genList (elemAt xs) (lib.min n (length xs));
    drop = n: xs: lib.genList (i: elemAt xs (n + i)) (lib.max 0 (length xs - n));
    foldr = f: end: xs: lib.foldl' (rest: x: f x rest) end (lib.reverseList xs);
    toList = x: if isList x then x else [ x ];
    zipLists = xs: ys: lib.genList (i: { fst = elemAt xs i; snd = elemAt ys i; }) (lib.min (length xs) (length ys));
    findFirst = test: default: xs: let found = lib.filter test xs; in if found == [ ] then default else builtins.head found;
    forEach = xs: f: map f xs;

    # attribute sets
    nameValuePair = name: value: { inherit name value; };
    optionalAttrs = condition: attrs: if condition then attrs else { };
    genAttrs = names: f: lib.listToAttrs (map (name: lib.nameValuePair name (f name)) names);
    filterAttrs = test: attrs: removeAttrs attrs (lib.filter (name: !(test name attrs.${name})) (lib.attrNames attrs));
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (lib.attrNames attrs);
    mapAttrs' = f: attrs: lib.listToAttrs (lib.mapAttrsToList f attrs);
    attrByPath = path: default: attrs:
      if path == [ ] then attrs
      else if isAttrs attrs && attrs ? ${builtins.head path} then lib.attrByPath (builtins.tail path) default attrs.${builtins.head path}
      else default;
    hasAttrByPath = path: attrs: lib.attrByPath path null attrs != null;
    getAttrFromPath = path: lib.attrByPath path (throw "no attribute ${lib.concatStringsSep "." path}");
    recursiveUpdate = a: b: a // lib.mapAttrs
      (name: value: if isAttrs value && isAttrs (a.${name} or null) then lib.recursiveUpdate a.${name} value else value) b;
    isDerivation = x: isAttrs x && (x.type or null) == "derivation";

    # strings
    concatMapStringsSep = sep: f: xs: lib.concatStringsSep sep (map f xs);
    concatMapStrings = lib.concatMapStringsSep "";
    concatStrings = lib.concatStringsSep "";
    concatLines = lib.concatMapStrings (line: line + "\n");
    optionalString = condition: text: if condition then text else "";
    makeSearchPath = folder: packages: lib.concatMapStringsSep ":" (package: "${package}/${folder}") (lib.filter (x: x != null) packages);
    makeSearchPathOutput = _: lib.makeSearchPath;
    makeBinPath = lib.makeSearchPath "bin";
    makeLibraryPath = lib.makeSearchPath "lib";
    makeIncludePath = lib.makeSearchPath "include";
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    hasSuffix = suffix: text:
      let n = builtins.stringLength text; m = builtins.stringLength suffix; in n >= m && builtins.substring (n - m) m text == suffix;
    hasInfix = infix: text: builtins.replaceStrings [ infix ] [ "" ] text != text;
    removePrefix = prefix: text:
      if lib.hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
    removeSuffix = suffix: text:
      if lib.hasSuffix suffix text then builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text else text;
    splitString = sep: text: lib.filter isString (builtins.split (lib.escapeRegex sep) text);
    escape = characters: builtins.replaceStrings characters (map (c: "\\${c}") characters);
    escapeRegex = lib.escape [ "\\" "[" "{" "(" ")" "^" "$" "?" "*" "|" "+" "." "}" "]" ];
    escapeShellArg = value: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    replaceStrings = builtins.replaceStrings;
    trim = text: let found = builtins.match "[ \t\r\n]*(.*[^ \t\r\n])[ \t\r\n]*" text; in if found == null then "" else builtins.head found;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    versionOlder = a: b: builtins.compareVersions a b < 0;
    getName = package: package.pname or (builtins.parseDrvName package.name).name;
    getVersion = package: package.version or (builtins.parseDrvName package.name).version;
    getExe = package: "${package}/bin/${package.meta.mainProgram or (lib.getName package)}";
    getExe' = package: name: "${package}/bin/${name}";
    getBin = package: package.bin or package.out or package;
    getLib = package: package.lib or package.out or package;
    getDev = package: package.dev or package.out or package;
    getOutput = output: package: package.${output} or package.out or package;

    # functions and packages
    callPackageWith = scope: f: arguments:
      let function = if isFunction f then f else import f;
      in function (builtins.intersectAttrs (builtins.functionArgs function) scope // arguments);
    makeOverridable = f: arguments: let result = f arguments; in
      if isAttrs result then result // { override = more: lib.makeOverridable f (arguments // (if isFunction more then more arguments else more)); }
      else result;
    cleanSource = path: path;
    sourceByRegex = path: _: path;
    licenses = { };
    maintainers = { };
    platforms = { linux = [ "x86_64-linux" "aarch64-linux" ]; unix = [ ]; all = [ ]; };
    systems.flakeExposed = [ ];
    strings = lib;
    lists = lib;
    attrsets = lib;
    trivial = lib;
  };
in
lib
