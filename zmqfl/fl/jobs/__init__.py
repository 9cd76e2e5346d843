"""Jobs: what a researcher writes, and how it becomes processes that run it.

    fields          keys of a mapping in a file, with their places
    app_config      config_fed_server and config_fed_client: what a site is to run
    job_folder      a whole job: meta, apps, which site gets which

Its users import from these modules.
"""
