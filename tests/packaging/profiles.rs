//! One page for each profile, which the contents name.

use virtual_shelly::profiles;

use super::text;

#[test]
fn each_profile_has_its_page_among_the_contents() {
    let contents = text("docs/consumers/README.md");
    for profile in profiles::all() {
        let page = format!("]({}.md)", profile.key);
        assert!(contents.contains(&page), "no line for {}", profile.key);
    }
}
