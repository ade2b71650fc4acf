"""Rows of the table whose cases run elsewhere: each names the command that runs it. A test (tests/packaging.rs) looks that they exist."""


def row(no, case, command):
    return {"no": no, "case": case, "note": f"`{command}`"}


ELSEWHERE = [
    row(1, "pages of strangers in a real Chromium", "scripts/test conformance -k test_foreign_pages"),
    row(1, "browsers told from programs", "cargo test --lib a_program_and_our_own_page_are_not_foreign"),
    row(2, "a password outlives the database", "cargo test --test store a_password_outlives_the_database_and_the_loss_is_told"),
    row(2, "unknown whether a password was set", "cargo test --test field while_nobody_knows_of_a_password_changes_are_refused_and_said"),
    row(3, "a dialled server needs the password for changes", "cargo test --test outbound a_password_is_asked_for_only_by_its_own_switch"),
    row(4, "the meter aimed at its own host", "cargo test --test outbound a_reader_cannot_make_the_meter_try_the_ports_of_its_host"),
    row(5, "passwords in the wrong place", "cargo test --test field no_password_is_shown_that_stands_in_the_wrong_place"),
    row(6, "forged senders of datagrams", "cargo test --lib forged_senders_take_no_share"),
    row(16, "power cuts, every channel's counters", "KILL_ROUNDS=200 cargo test --test field counters_never_fall_over_a_power_cut"),
    row(16, "bytes written in a day", "cargo test --test store_writes a_day_of_commits_every_30_s_writes_less_than_30_mb"),
    row(18, "every signal that ends it saves first", "cargo test --test field every_signal_that_ends_it_saves_first"),
    row(18, "a second process on the folder", "cargo test --test field a_second_process_names_the_first_and_leaves_it_alone"),
    row(18, "a key set every second", "cargo test --test store_writes a_key_set_every_second_of_a_day_costs_little_and_is_kept"),
    row(18, "the minute that a stop cut", "cargo test --lib restarts_within_a_minute_lose_nothing_of_it"),
]
