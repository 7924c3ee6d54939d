# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tidegate_global_optspecs
    string join \n h/help V/version
end

function __fish_tidegate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tidegate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tidegate_using_subcommand
    set -l cmd (__fish_tidegate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tidegate -n "__fish_tidegate_needs_command" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_needs_command" -s V -l version -d 'Print version'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "run" -d 'Run the gateway until SIGTERM or Ctrl-C'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "check" -d 'Read configuration and rules, report every mistake, and exit with 0 or 78'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "reload" -d 'Have the running gateway read its configuration anew; sessions, windows and what waits stay'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "status" -d 'Say how the running gateway is; exits with 0 if it lives and can store, with 1 if not'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "top" -d 'Watch the running gateway: rates, what waits, uplinks, rules, the last warnings'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "config" -d 'Show the settings in effect, or a JSON schema of settings for editors'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "passwd" -d 'Add, change or delete a user of a password file in mosquitto\'s format'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "support-bundle" -d 'Write one text file for who is to help: settings, counters, the system; no secrets'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "rules" -d 'Check, test, explain and try rules; all of it without a gateway'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "tap" -d 'Watch events of the running gateway, before and after the rules'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "trace" -d 'Say what the rules did with an event; needs `[trace]` in the configuration'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "buffer" -d 'Look into the buffer: what waits, what was set aside; also beside a running gateway'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -s c -l config -d 'The main file; conf.d/*.toml and rules.d/*.toml beside it are read too' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s c -l config -d 'The main file; conf.d/*.toml and rules.d/*.toml beside it are read too' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l interval -d 'Between two looks' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l once -d 'Look once, and end'
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and not __fish_seen_subcommand_from show schema help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and not __fish_seen_subcommand_from show schema help" -f -a "show" -d 'Every setting with the value that counts, as a file of its own; secrets are named, never shown'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and not __fish_seen_subcommand_from show schema help" -f -a "schema" -d 'A JSON schema, so that editors complete and explain settings'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and not __fish_seen_subcommand_from show schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'The main file; conf.d/*.toml and rules.d/*.toml beside it are read too' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Every setting with the value that counts, as a file of its own; secrets are named, never shown'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "schema" -d 'A JSON schema, so that editors complete and explain settings'
complete -c tidegate -n "__fish_tidegate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand passwd" -l iterations -d 'Iterations of PBKDF2: each login costs so many' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand passwd" -l delete -d 'Delete the user'
complete -c tidegate -n "__fish_tidegate_using_subcommand passwd" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s c -l config -d 'The gateway\'s main file' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s o -l out -d 'Write here; must not exist' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "check" -d 'Read everything, report every mistake, and list the rules'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "test" -d 'Run the tests that stand beside the rules as [[rule.test]]; exits with 1 if one fails'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "explain" -d 'Say in words what a rule does, step by step'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "try" -d 'Give one event to the rules and show what each does with it'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "replay" -d 'Give captured events to the rules, with their times, and print what comes of them as JSON lines'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and not __fish_seen_subcommand_from check test explain try replay help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from check" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from test" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from explain" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -l rule -d 'Only this rule' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -l at -d 'When it comes in, as in 2026-11-21T12:00:00Z; now if it is left out' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -l advance -d 'How long time goes on after it, such as 2m, so that windows end' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -l client-id -d 'The client id of the publisher' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -l json -d 'Print what comes of it as JSON lines, and nothing else'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from try" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -l buffer -d 'What waits in this buffer instead' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -l uplink -d 'With --buffer: only what waits for this uplink' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -l rule -d 'Only this rule' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -l advance -d 'How long time goes on after the last event, such as 1m, so that windows end' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -s o -l out -d 'Write here instead of to stdout; must not exist' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -s c -l config -d 'The gateway\'s main file; rules.d/*.toml beside it has the rules' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read everything, report every mistake, and list the rules'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "test" -d 'Run the tests that stand beside the rules as [[rule.test]]; exits with 1 if one fails'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Say in words what a rule does, step by step'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "try" -d 'Give one event to the rules and show what each does with it'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "replay" -d 'Give captured events to the rules, with their times, and print what comes of them as JSON lines'
complete -c tidegate -n "__fish_tidegate_using_subcommand rules; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -s o -l out -d 'Write JSON lines here, which `tidegate rules replay` reads; must not exist' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -s n -l limit -d 'Stop after so many events' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -l json -d 'Print JSON lines for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand tap" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand trace" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand trace" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand trace" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand trace" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "status" -d 'What waits and how old it is, the books, what was set aside'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "list" -d 'The stored batches, the oldest first'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "peek" -d 'The oldest stored events, readable'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "export" -d 'Every stored event, as JSON lines or a CBOR sequence (RFC 8742)'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "verify" -d 'Read and check everything; exits with 1 if something is damaged'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "quarantine" -d 'What was set aside: poison, and damaged batches'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "purge" -d 'Give up what waits for an uplink'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and not __fish_seen_subcommand_from status list peek export verify quarantine purge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from status" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from status" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from status" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -l uplink -d 'Only what waits for this uplink' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -l priority -d 'Only this priority' -r -f -a "high\t''
normal\t''
low\t''"
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -s n -l limit -d 'How many batches at most' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -l uplink -d 'Only what waits for this uplink' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -l priority -d 'Only this priority' -r -f -a "high\t''
normal\t''
low\t''"
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -s n -l limit -d 'How many events at most' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from peek" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -l uplink -d 'Only what waits for this uplink' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -l priority -d 'Only this priority' -r -f -a "high\t''
normal\t''
low\t''"
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -l format -d 'How each event is written' -r -f -a "json\t'One JSON object in a line'
cbor\t'One CBOR map after the other'"
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -s o -l out -d 'Write here instead of to stdout; must not exist' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from verify" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from verify" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -f -a "list" -d 'What there is, and why'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -f -a "replay" -d 'Send it once more, to the uplinks it was meant for'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -f -a "drop" -d 'Forget it'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from quarantine" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -l uplink -d 'The uplink, also one that is not configured any more' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -l priority -d 'Only this priority' -r -f -a "high\t''
normal\t''
low\t''"
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -s c -l config -d 'The gateway\'s main file, which says where the buffer is' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -l dir -d 'The buffer\'s folder, instead of asking the configuration' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -l yes -d 'Do not ask'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -l json -d 'Print JSON for programs'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from purge" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "status" -d 'What waits and how old it is, the books, what was set aside'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "list" -d 'The stored batches, the oldest first'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "peek" -d 'The oldest stored events, readable'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "export" -d 'Every stored event, as JSON lines or a CBOR sequence (RFC 8742)'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Read and check everything; exits with 1 if something is damaged'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "quarantine" -d 'What was set aside: poison, and damaged batches'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "purge" -d 'Give up what waits for an uplink'
complete -c tidegate -n "__fish_tidegate_using_subcommand buffer; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "run" -d 'Run the gateway until SIGTERM or Ctrl-C'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "check" -d 'Read configuration and rules, report every mistake, and exit with 0 or 78'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "reload" -d 'Have the running gateway read its configuration anew; sessions, windows and what waits stay'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "status" -d 'Say how the running gateway is; exits with 0 if it lives and can store, with 1 if not'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "top" -d 'Watch the running gateway: rates, what waits, uplinks, rules, the last warnings'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "config" -d 'Show the settings in effect, or a JSON schema of settings for editors'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "passwd" -d 'Add, change or delete a user of a password file in mosquitto\'s format'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "support-bundle" -d 'Write one text file for who is to help: settings, counters, the system; no secrets'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "rules" -d 'Check, test, explain and try rules; all of it without a gateway'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "tap" -d 'Watch events of the running gateway, before and after the rules'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "trace" -d 'Say what the rules did with an event; needs `[trace]` in the configuration'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "buffer" -d 'Look into the buffer: what waits, what was set aside; also beside a running gateway'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check reload status top config passwd support-bundle rules tap trace buffer help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Every setting with the value that counts, as a file of its own; secrets are named, never shown'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "schema" -d 'A JSON schema, so that editors complete and explain settings'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from rules" -f -a "check" -d 'Read everything, report every mistake, and list the rules'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from rules" -f -a "test" -d 'Run the tests that stand beside the rules as [[rule.test]]; exits with 1 if one fails'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from rules" -f -a "explain" -d 'Say in words what a rule does, step by step'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from rules" -f -a "try" -d 'Give one event to the rules and show what each does with it'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from rules" -f -a "replay" -d 'Give captured events to the rules, with their times, and print what comes of them as JSON lines'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "status" -d 'What waits and how old it is, the books, what was set aside'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "list" -d 'The stored batches, the oldest first'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "peek" -d 'The oldest stored events, readable'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "export" -d 'Every stored event, as JSON lines or a CBOR sequence (RFC 8742)'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "verify" -d 'Read and check everything; exits with 1 if something is damaged'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "quarantine" -d 'What was set aside: poison, and damaged batches'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from buffer" -f -a "purge" -d 'Give up what waits for an uplink'
